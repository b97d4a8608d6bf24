/* One message there, one message back, whatever carries it. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <stddef.h>

enum kind { SLOT, FIFO, MQUEUE, DGRAM, PACKET_PIPE, REDIS, MQTT };

/* A one-way way: what is sent into `in` comes out of `out`. */
struct channel {
    enum kind kind;
    int in, out;
    char name[240];
};

enum kind kind_of(const char *name);

/* `where` is a directory (slot, fifo), or a TCP port on loopback (redis, mqtt). */
void channel_open(struct channel *c, enum kind kind, const char *where, const char *name);
void channel_send(struct channel *c, const char *message, size_t size);
void channel_receive(struct channel *c, char *message, size_t size);
void channel_close(struct channel *c);
void die(const char *what);

#endif
