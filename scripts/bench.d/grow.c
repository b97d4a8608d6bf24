/*
 * What an operation costs on a mount that holds much (BIG), against a second mount that holds one
 * of the same (SMALL). Batches alternate between the two, so that a noisy machine hits both alike.
 *
 *     grow depth   BIG SMALL N OPS    N messages queued in one slot
 *     grow slots   BIG SMALL N OPS    N slots held open
 *     grow readers BIG SMALL N OPS    N threads waiting on one slot
 *     grow idle    DIR SLOTS READERS  fills a mount and does nothing
 *
 * When the mounts are filled it prints "ready" and waits for a line on stdin, so that memory can
 * be looked at; then it measures and prints one line of JSON.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "stats.h"

enum { SIZE = 64, BATCH = 100, SETTLE = 20, STACK = 32768, LISTINGS = 5, MOST_OPS = 4 };

struct side {
    const char *dir;
    size_t n;
    struct samples op[MOST_OPS];
};

static char message[SIZE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_in(const char *dir, const char *name, size_t number, int flags)
{
    char path[512];
    int fd;

    snprintf(path, sizeof path, "%s/%s%zu", dir, name, number);
    fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    return fd;
}

static void put(int fd)
{
    if (write(fd, message, SIZE) != SIZE)
        die("write");
}

static void get(int fd)
{
    char buffer[SIZE];

    if (read(fd, buffer, SIZE) != SIZE)
        die("read");
}

static void ready(double fill_us)
{
    char line[8];

    printf("ready {\"fill\": %.3f}\n", fill_us);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(1);
    printf("{");
}

/* One batch on each side in turn; the first few of a batch only warm the caches again. */
static void alternate(struct side sides[2], size_t ops, void (*one)(struct side *, size_t, int))
{
    size_t i = 0;

    for (int s = 0; s < 2; s++)
        for (int k = 0; k < MOST_OPS; k++)
            sides[s].op[k] = samples_for(ops);
    for (size_t done = 0; done < ops; done += BATCH)
        for (int s = 0; s < 2; s++)
            for (int k = -SETTLE; k < BATCH; k++)
                one(&sides[s], i++, k >= 0);
}

static void print_op(struct side sides[2], int op, const char *name)
{
    printf("%s\"%s\": {", op ? ", " : "", name);
    print_stats("big", &sides[0].op[op]);
    printf(", ");
    print_stats("small", &sides[1].op[op]);
    printf("}");
}

static void timed(struct side *s, int op, int keep, double since)
{
    if (keep)
        add(&s->op[op], now_us() - since);
}

/* Queue depth */

static int deep_in[2], deep_out[2];
static struct side both[2];

static void write_and_read(struct side *s, size_t i, int keep)
{
    double t = now_us();

    (void)i;
    put(deep_in[s - both]);
    timed(s, 0, keep, t);
    t = now_us();
    get(deep_out[s - both]);
    timed(s, 1, keep, t);
}

static void depth(size_t ops)
{
    double t;

    for (int s = 0; s < 2; s++) {
        deep_out[s] = open_in(both[s].dir, "deep", 0, O_RDONLY | O_CREAT);
        deep_in[s] = open_in(both[s].dir, "deep", 0, O_WRONLY);
    }
    put(deep_in[1]);
    t = now_us();
    for (size_t i = 0; i < both[0].n; i++)
        put(deep_in[0]);
    ready((now_us() - t) / (double)both[0].n);
    alternate(both, ops, write_and_read);
    print_op(both, 0, "write");
    print_op(both, 1, "read");
}

/* Number of slots */

static void life_of_a_slot(struct side *s, size_t i, int keep)
{
    double t = now_us();
    int fd = open_in(s->dir, "new", i, O_RDWR | O_CREAT | O_EXCL);

    timed(s, 0, keep, t);
    t = now_us();
    put(fd);
    timed(s, 1, keep, t);
    t = now_us();
    get(fd);
    timed(s, 2, keep, t);
    t = now_us();
    close(fd);
    timed(s, 3, keep, t);
}

/* Time to list the mount, for each slot in it. */
static double list(struct side *s)
{
    double t = now_us();
    DIR *dir = opendir(s->dir);
    size_t found = 0;

    if (!dir)
        die(s->dir);
    for (struct dirent *e; (e = readdir(dir));)
        found += !strncmp(e->d_name, "held", 4);
    closedir(dir);
    if (found != s->n) {
        fprintf(stderr, "%s lists %zu slots, not %zu\n", s->dir, found, s->n);
        exit(1);
    }
    return (now_us() - t) / (double)s->n;
}

/* Hold slots open in a process of its own; the kernel kills it when this one ends. */
static void hold(size_t from, size_t to)
{
    int told[2];
    char byte = 0;
    pid_t child;

    if (pipe(told) || (child = fork()) < 0)
        die("a process to hold slots open");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t i = from; i < to; i++)
            open_in(both[0].dir, "held", i, O_RDWR | O_CREAT);
        if (write(told[1], &byte, 1) == 1)
            pause();
        _exit(1);
    }
    close(told[1]);
    if (read(told[0], &byte, 1) != 1) {
        fprintf(stderr, "slots %zu to %zu: not opened\n", from, to);
        exit(1);
    }
    close(told[0]);
}

static void slots(size_t ops)
{
    struct samples listing[2] = {samples_for(LISTINGS), samples_for(LISTINGS)};
    struct rlimit files;
    size_t each;
    double t;

    /* Even root may not be allowed as many open files as there are to be slots. */
    if (getrlimit(RLIMIT_NOFILE, &files))
        die("getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur < 256)
        die("RLIMIT_NOFILE");
    each = files.rlim_cur - 128;
    open_in(both[1].dir, "held", 0, O_RDWR | O_CREAT);
    t = now_us();
    for (size_t i = 0; i < both[0].n; i += each)
        hold(i, i + each < both[0].n ? i + each : both[0].n);
    ready((now_us() - t) / (double)both[0].n);
    alternate(both, ops, life_of_a_slot);
    print_op(both, 0, "create");
    print_op(both, 1, "write");
    print_op(both, 2, "read");
    print_op(both, 3, "close");
    for (int i = 0; i < LISTINGS; i++)
        for (int s = 0; s < 2; s++)
            add(&listing[s], list(&both[s]));
    printf(", \"list, a slot\": {");
    print_stats("big", &listing[0]);
    printf(", ");
    print_stats("small", &listing[1]);
    printf("}");
}

/* Waiting readers */

static sem_t delivered;
static atomic_size_t waiting;
static atomic_int stop;
static double arrived;
static int crowd_in[2], other_in[2], other_out[2];

static void *reader(void *fd)
{
    waiting++;
    do {
        get((int)(long)fd);
        arrived = now_us();
        sem_post(&delivered);
    } while (!stop);
    return NULL;
}

static void start_readers(pthread_t *threads, size_t n, int fd)
{
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    for (size_t i = 0; i < n; i++) {
        errno = pthread_create(&threads[i], &attr, reader, (void *)(long)fd);
        if (errno)
            die("pthread_create");
    }
}

/*
 * The kernel hands requests over in their order: when a message has gone through another slot,
 * the daemon has all reads that were asked for before.
 */
static void all_wait(size_t n, const char *dir)
{
    int out = open_in(dir, "barrier", 0, O_RDONLY | O_CREAT);
    int in = open_in(dir, "barrier", 0, O_WRONLY);

    while (waiting < n)
        usleep(10000);
    usleep(100000); /* from the counter into read */
    put(in);
    get(out);
    usleep(200000);
    close(in);
    close(out);
}

static void deliver(struct side *s, size_t i, int keep)
{
    int which = (int)(s - both);
    double t = now_us();

    (void)i;
    put(crowd_in[which]);
    timed(s, 0, keep, t);
    while (sem_wait(&delivered))
        ;
    if (keep)
        add(&s->op[1], arrived - t);
    for (int k = 0; k < 3; k++)
        sched_yield(); /* the reader goes back to wait first: both sides meet a waiting one */
    t = now_us();
    put(other_in[which]);
    timed(s, 2, keep, t);
    t = now_us();
    get(other_out[which]);
    timed(s, 3, keep, t);
}

static void release(pthread_t *threads, size_t n, int fd)
{
    for (size_t i = 0; i < n; i++)
        put(fd);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static void readers(size_t ops)
{
    pthread_t *threads = calloc(both[0].n + 1, sizeof *threads);
    double t = now_us();

    if (!threads || sem_init(&delivered, 0, 0))
        die("readers");
    for (int s = 0; s < 2; s++) {
        int fd = open_in(both[s].dir, "crowd", 0, O_RDONLY | O_CREAT);

        crowd_in[s] = open_in(both[s].dir, "crowd", 0, O_WRONLY);
        other_out[s] = open_in(both[s].dir, "other", 0, O_RDONLY | O_CREAT);
        other_in[s] = open_in(both[s].dir, "other", 0, O_WRONLY);
        start_readers(s ? threads + both[0].n : threads, both[s].n, fd);
    }
    all_wait(both[0].n + 1, both[0].dir);
    ready((now_us() - t) / (double)both[0].n);
    alternate(both, ops, deliver);
    print_op(both, 0, "write to a reader");
    print_op(both, 1, "write until read");
    print_op(both, 2, "write elsewhere");
    print_op(both, 3, "read elsewhere");
    stop = 1;
    release(threads, both[0].n, crowd_in[0]);
    release(threads + both[0].n, 1, crowd_in[1]);
}

static void idle(const char *dir, size_t count, size_t n)
{
    pthread_t *threads = calloc(n, sizeof *threads);
    double t = now_us();

    if (!threads || sem_init(&delivered, 0, 0))
        die("idle");
    for (size_t i = 0; i < count; i++) {
        int fd = open_in(dir, "held", i, O_RDONLY | O_CREAT);

        if (i < n)
            start_readers(&threads[i], 1, fd);
    }
    all_wait(n, dir);
    ready((now_us() - t) / (double)count);
    stop = 1;
    for (size_t i = 0; i < n; i++)
        release(&threads[i], 1, open_in(dir, "held", i, O_WRONLY));
}

int main(int argc, char **argv)
{
    size_t n = argc > 4 ? strtoul(argv[argc - 2], NULL, 10) : 0;
    size_t ops = argc > 4 ? strtoul(argv[argc - 1], NULL, 10) : 0;

    if (argc == 5 && !strcmp(argv[1], "idle")) {
        idle(argv[2], n, ops);
        printf("}\n");
        return 0;
    }
    if (argc != 6 || n == 0 || ops == 0)
        return 2;
    both[0] = (struct side){.dir = argv[2], .n = n};
    both[1] = (struct side){.dir = argv[3], .n = 1};
    if (!strcmp(argv[1], "depth") || !strcmp(argv[1], "slots") || !strcmp(argv[1], "readers")) {
        void (*measure)(size_t) = *argv[1] == 'd' ? depth : *argv[1] == 's' ? slots : readers;

        measure(ops);
        printf("}\n");
        return 0;
    }
    return 2;
}
