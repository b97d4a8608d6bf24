#define _GNU_SOURCE
#include "channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const KINDS[] = {"slot", "fifo", "mqueue", "dgram", "pipe", "redis", "mqtt"};

enum { HEAD = 256 }; /* room for what a broker's protocol puts around a message */

void die(const char *what)
{
    perror(what);
    exit(1);
}

static void broken(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

enum kind kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (!strcmp(name, KINDS[i]))
            return (enum kind)i;
    broken("unknown kind of channel");
    return SLOT;
}

static int opened(int fd, const char *what)
{
    if (fd < 0)
        die(what);
    return fd;
}

static void write_all(int fd, const char *data, size_t size)
{
    if (write(fd, data, size) != (ssize_t)size)
        die("write");
}

static void read_all(int fd, char *data, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, data + got, size - got);

        if (n <= 0)
            die("read");
        got += (size_t)n;
    }
}

static int tcp(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int fd = opened(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* Redis: LPUSH is answered with the length of the list, BRPOP waits for an element. */

static void redis_send(struct channel *c, const char *message, size_t size)
{
    char request[HEAD + 65536], answer[64];
    size_t n = (size_t)snprintf(request, HEAD, "*3\r\n$5\r\nLPUSH\r\n$%zu\r\n%s\r\n$%zu\r\n",
                                strlen(c->name), c->name, size);

    memcpy(request + n, message, size);
    memcpy(request + n + size, "\r\n", 2);
    write_all(c->in, request, n + size + 2);
    if (read(c->in, answer, sizeof answer) <= 0 || *answer != ':')
        broken("redis did not take LPUSH");
}

static void redis_receive(struct channel *c, char *message, size_t size)
{
    char text[HEAD], answer[HEAD + 65536];
    size_t n = (size_t)snprintf(text, HEAD, "*3\r\n$5\r\nBRPOP\r\n$%zu\r\n%s\r\n$1\r\n0\r\n",
                                strlen(c->name), c->name);

    write_all(c->out, text, n);
    n = (size_t)snprintf(text, HEAD, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(c->name), c->name,
                         size);
    read_all(c->out, answer, n + size + 2);
    if (memcmp(answer, text, n))
        broken("redis did not answer BRPOP as expected");
    memcpy(message, answer + n, size);
}

/* MQTT 3.1.1 at QoS 0; messages here fit a one- or two-byte remaining length. */

static size_t mqtt_head(char *packet, int type, size_t remaining)
{
    size_t n = 0;

    packet[n++] = (char)type;
    if (remaining > 127)
        packet[n++] = (char)(remaining % 128 | 128);
    packet[n++] = (char)(remaining > 127 ? remaining / 128 : remaining);
    return n;
}

static int mqtt_connect(const char *client)
{
    char packet[HEAD], answer[4];
    size_t id = strlen(client), n = mqtt_head(packet, 0x10, 12 + id);
    int fd = tcp(atoi(client + strcspn(client, ":") + 1));

    memcpy(packet + n, "\0\4MQTT\4\2\0\0", 10);
    packet[n + 10] = 0;
    packet[n + 11] = (char)id;
    memcpy(packet + n + 12, client, id);
    write_all(fd, packet, n + 12 + id);
    read_all(fd, answer, sizeof answer);
    if (answer[0] != 0x20 || answer[3] != 0)
        broken("mqtt: not connected");
    return fd;
}

static void mqtt_subscribe(int fd, const char *topic)
{
    char packet[HEAD], answer[5];
    size_t length = strlen(topic), n = mqtt_head(packet, 0x82, 5 + length);

    memcpy(packet + n, "\0\1\0", 3);
    packet[n + 3] = (char)length;
    memcpy(packet + n + 4, topic, length);
    packet[n + 4 + length] = 0;
    write_all(fd, packet, n + 5 + length);
    read_all(fd, answer, sizeof answer);
    if ((unsigned char)answer[0] != 0x90 || answer[4] != 0)
        broken("mqtt: not subscribed");
}

static size_t mqtt_publish_head(struct channel *c, char *packet, size_t size)
{
    size_t topic = strlen(c->name), n = mqtt_head(packet, 0x30, 2 + topic + size);

    packet[n] = 0;
    packet[n + 1] = (char)topic;
    memcpy(packet + n + 2, c->name, topic);
    return n + 2 + topic;
}

static void mqtt_open(struct channel *c, const char *port)
{
    char client[HEAD];

    snprintf(client, sizeof client, "%.100s-out:%s", c->name, port);
    c->out = mqtt_connect(client);
    mqtt_subscribe(c->out, c->name);
    snprintf(client, sizeof client, "%.100s-in:%s", c->name, port);
    c->in = mqtt_connect(client);
}

static void mqueue_open(struct channel *c, const char *name)
{
    /* The depth every user is allowed without touching fs.mqueue. */
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 8192};

    snprintf(c->name, sizeof c->name, "/msfs-bench-%d-%.60s", (int)getpid(), name);
    c->out = (int)mq_open(c->name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
    opened(c->out, "mq_open");
    c->in = opened((int)mq_open(c->name, O_WRONLY | O_CLOEXEC), "mq_open");
    mq_unlink(c->name);
}

void channel_open(struct channel *c, enum kind kind, const char *where, const char *name)
{
    char path[HEAD];
    int ends[2];

    c->kind = kind;
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(path, sizeof path, "%s/%s", where, name);
    switch (kind) {
    case SLOT: /* a server that only reads, a client that only writes */
        c->out = opened(open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600), path);
        c->in = opened(open(path, O_WRONLY | O_CLOEXEC), path);
        break;
    case FIFO:
        if (mkfifo(path, 0600))
            die(path);
        c->out = opened(open(path, O_RDWR | O_CLOEXEC), path); /* O_RDONLY waits for a writer */
        c->in = opened(open(path, O_WRONLY | O_CLOEXEC), path);
        unlink(path);
        break;
    case MQUEUE:
        mqueue_open(c, name);
        break;
    case DGRAM:
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends))
            die("socketpair");
        c->out = ends[0], c->in = ends[1];
        break;
    case PACKET_PIPE:
        if (pipe2(ends, O_DIRECT | O_CLOEXEC))
            die("pipe2");
        c->out = ends[0], c->in = ends[1];
        break;
    case REDIS:
        c->out = tcp(atoi(where));
        c->in = tcp(atoi(where));
        break;
    case MQTT:
        mqtt_open(c, where);
        break;
    }
}

void channel_send(struct channel *c, const char *message, size_t size)
{
    char packet[HEAD + 16384];
    size_t n;

    switch (c->kind) {
    case MQUEUE:
        if (mq_send((mqd_t)c->in, message, size, 0))
            die("mq_send");
        break;
    case REDIS:
        redis_send(c, message, size);
        break;
    case MQTT:
        n = mqtt_publish_head(c, packet, size);
        memcpy(packet + n, message, size);
        write_all(c->in, packet, n + size);
        break;
    default:
        write_all(c->in, message, size);
    }
}

void channel_receive(struct channel *c, char *message, size_t size)
{
    char buffer[HEAD + 16384];
    size_t head;

    switch (c->kind) {
    case MQUEUE:
        if (mq_receive((mqd_t)c->out, buffer, 8192, NULL) != (ssize_t)size)
            die("mq_receive");
        memcpy(message, buffer, size);
        break;
    case REDIS:
        redis_receive(c, message, size);
        break;
    case MQTT:
        head = mqtt_publish_head(c, buffer, size);
        read_all(c->out, buffer, head + size);
        memcpy(message, buffer + head, size);
        break;
    default:
        if (read(c->out, message, size) != (ssize_t)size)
            die("read: not one whole message");
    }
}

void channel_close(struct channel *c)
{
    close(c->in);
    close(c->out);
}
