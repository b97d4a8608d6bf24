/*
 * The client's side of every rival that a Linux program can talk to, so that its own cost is the
 * same for all.
 *
 *     client file PATH SIZE COUNT           writes on a handle of an existing file
 *     client write KIND WHERE SIZE COUNT    sends on an open channel; nobody waits at its other end
 *     client pair KIND WHERE SIZE COUNT     one process writes, another waits in read
 *     client pingpong KIND WHERE SIZE COUNT two processes that answer each other
 *
 * A pair alternates strictly: the next write goes when the reader has said through shared memory
 * that it has the message. The writer yields the core that both share until then, so the reader is
 * back in read before it goes on. "message" is from one write to the next, the whole cost of a
 * message; "latency" from just before the write to just after the read.
 *
 * In ping-pong the acknowledgement is a message on a second channel, and nobody spins: "message"
 * is half a round trip. mailslot.c does both in the same way under Wine.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "stats.h"

enum { WARM_UP = 200, BATCH = 100, LARGEST = 65536 };

static char message[LARGEST];

static void file_writes(const char *path, size_t size, size_t count)
{
    struct samples writes = samples_for(count);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        die(path);
    for (size_t i = 0; i < count + WARM_UP; i++) {
        double t = now_us();

        if (write(fd, message, size) != (ssize_t)size)
            die(path);
        if (i >= WARM_UP)
            add(&writes, now_us() - t);
    }
    print_stats("write", &writes);
}

static void sends(enum kind kind, const char *where, size_t size, size_t count)
{
    struct samples writes = samples_for(count);
    struct channel c;

    channel_open(&c, kind, where, "bench-write");
    for (size_t i = 0; i < count + WARM_UP; i++) {
        double t = now_us();

        channel_send(&c, message, size);
        if (i >= WARM_UP)
            add(&writes, now_us() - t);
        /* The kernel's queues are short; a slot is emptied now and then, as its memory grows. */
        if (kind != SLOT)
            channel_receive(&c, message, size);
        else if (i % BATCH == BATCH - 1)
            for (int k = 0; k < BATCH; k++)
                channel_receive(&c, message, size);
    }
    channel_close(&c);
    print_stats("write", &writes);
}

static void send_stamped(struct channel *c, size_t size)
{
    double t = now_us();

    memcpy(message, &t, sizeof t);
    channel_send(c, message, size);
}

static double receive_stamped(struct channel *c, size_t size)
{
    double t;

    channel_receive(c, message, size);
    memcpy(&t, message, sizeof t);
    return now_us() - t;
}

static pid_t forked(void)
{
    pid_t child = fork();

    if (child < 0)
        die("fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed parent leaves nobody waiting */
    return child;
}

static void pair(enum kind kind, const char *where, size_t size, size_t count)
{
    struct samples each = samples_for(count), latency = samples_for(count);
    struct receipt *receipt = mmap(NULL, sizeof *receipt, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct channel c;
    pid_t child;

    if (receipt == MAP_FAILED)
        die("mmap");
    channel_open(&c, kind, where, "bench-pair");
    child = forked();
    if (child == 0) {
        for (size_t i = 1; i <= count + WARM_UP; i++) {
            receipt->late = receive_stamped(&c, size);
            atomic_store(&receipt->received, i);
        }
        _exit(0);
    }
    for (size_t i = 1; i <= count + WARM_UP; i++) {
        double t = now_us();

        send_stamped(&c, size);
        while (atomic_load(&receipt->received) != i)
            sched_yield();
        if (i > WARM_UP) {
            add(&each, now_us() - t);
            add(&latency, receipt->late);
        }
    }
    waitpid(child, NULL, 0);
    channel_close(&c);
    print_stats("message", &each);
    printf(", ");
    print_stats("latency", &latency);
}

static void pingpong(enum kind kind, const char *where, size_t size, size_t count)
{
    struct samples halves = samples_for(count), latency = samples_for(count);
    struct channel there, back;
    pid_t child;

    channel_open(&there, kind, where, "bench-there");
    channel_open(&back, kind, where, "bench-back");
    child = forked();
    if (child == 0) {
        for (size_t i = 0; i < count + WARM_UP; i++) {
            receive_stamped(&there, size);
            send_stamped(&back, size);
        }
        _exit(0);
    }
    for (size_t i = 0; i < count + WARM_UP; i++) {
        double t = now_us(), late;

        send_stamped(&there, size);
        late = receive_stamped(&back, size);
        if (i >= WARM_UP) {
            add(&halves, (now_us() - t) / 2);
            add(&latency, late);
        }
    }
    waitpid(child, NULL, 0);
    channel_close(&there);
    channel_close(&back);
    print_stats("message", &halves);
    printf(", ");
    print_stats("latency", &latency);
}

int main(int argc, char **argv)
{
    size_t size = argc > 3 ? strtoul(argv[argc - 2], NULL, 10) : 0;
    size_t count = argc > 3 ? strtoul(argv[argc - 1], NULL, 10) : 0;

    if (size < sizeof(double) || size > LARGEST || count == 0) {
        fprintf(stderr, "usage: client file PATH SIZE COUNT\n"
                        "       client write|pair|pingpong KIND WHERE SIZE COUNT\n");
        return 2;
    }
    printf("{");
    if (argc == 5 && !strcmp(argv[1], "file"))
        file_writes(argv[2], size, count);
    else if (argc == 6 && !strcmp(argv[1], "write"))
        sends(kind_of(argv[2]), argv[3], size, count);
    else if (argc == 6 && !strcmp(argv[1], "pair"))
        pair(kind_of(argv[2]), argv[3], size, count);
    else if (argc == 6 && !strcmp(argv[1], "pingpong"))
        pingpong(kind_of(argv[2]), argv[3], size, count);
    printf("}\n");
    return 0;
}
