/*
 * What a mount does when many use it at once, and what one of its users feels of the others.
 *
 *     crowded pairs KIND WHERE SIZE COUNT PAIRS  so many channels (channel.h), each with a writer
 *                                             and a reader that waits
 *     crowded writes FILE SIZE COUNT WRITERS  so many writers of one file, with nobody to read
 *     crowded both FILE SIZE COUNT EACH       so many writers of one file, and as many readers
 *     crowded beside DIR COUNT                one user's write and read so many times, for each
 *                                             line on stdin; "refused" if a write is
 *     crowded flood DIR                       writes and reads a slot of its own for ever
 *     crowded list DIR                        opens and closes the directory for ever
 *     crowded long DIR                        lists it with the attributes of all for ever
 *     crowded fill DIR COUNT                  holds so many slots open
 *     crowded wait DIR COUNT                  has so many reads of a slot wait
 *     crowded bytes DIR                       fills slots of its own until it is refused
 *
 * The last three say "ready" when it is so, and end with a line on stdin.
 *
 * "message" is the time for all, divided by the messages.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "stats.h"

enum { LARGEST = 65536, MOST = 64, EACH = 15000, STACK = 65536 };

static char message[LARGEST];

static pid_t forked(void)
{
    pid_t child = fork();

    if (child < 0)
        die("fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

static int opened(const char *directory, const char *name, unsigned number, int flags)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/%s%u", directory, name, number);
    fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    return fd;
}

static void writes(int fd, size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (write(fd, message, size) != (ssize_t)size)
            die("write");
}

static void reads(int fd, size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (read(fd, message, size) <= 0)
            die("read");
}

/* Ends when all children have; one that failed is a failure. */
static void wait_for_all(void)
{
    int status;

    while (wait(&status) > 0)
        if (status != 0)
            exit(1);
}

static void tell_each(double began, size_t messages)
{
    struct samples each = samples_for(1);

    add(&each, (now_us() - began) / (double)messages);
    print_stats("message", &each);
}

static void pairs(enum kind kind, const char *where, size_t size, size_t count, unsigned n)
{
    struct channel channels[MOST];
    char name[32];
    double began;

    for (unsigned i = 0; i < n; i++) { /* before the clock starts */
        snprintf(name, sizeof name, "crowd%u", i);
        channel_open(&channels[i], kind, where, name);
    }
    began = now_us();
    for (unsigned i = 0; i < n; i++) {
        if (forked() == 0) {
            for (size_t k = 0; k < count; k++)
                channel_receive(&channels[i], message, size);
            _exit(0);
        }
        if (forked() == 0) {
            for (size_t k = 0; k < count; k++)
                channel_send(&channels[i], message, size);
            _exit(0);
        }
    }
    wait_for_all();
    tell_each(began, n * count);
}

static void start(const char *file, int flags, void (*use)(int, size_t, size_t), size_t size,
                  size_t count)
{
    if (forked() == 0) {
        int fd = open(file, flags | O_CLOEXEC);

        if (fd < 0)
            die(file);
        use(fd, size, count);
        _exit(0);
    }
}

static void users(const char *file, size_t size, size_t count, unsigned n, bool both)
{
    double began = now_us();

    for (unsigned i = 0; i < n; i++) {
        start(file, O_WRONLY, writes, size, count);
        if (both)
            start(file, O_RDONLY, reads, size, count);
    }
    wait_for_all();
    tell_each(began, n * count);
}

static void beside(const char *directory, size_t count)
{
    int fd = opened(directory, "beside", 0, O_RDWR | O_CREAT);
    char line[16];

    while (fgets(line, sizeof line, stdin)) {
        struct samples each = samples_for(count);

        int refused = 0;

        for (size_t i = 0; i < count; i++) {
            double t = now_us();

            if (write(fd, message, 64) != 64) {
                refused = errno;
                break;
            }
            reads(fd, sizeof message, 1);
            add(&each, now_us() - t);
            usleep(500); /* a user, not a flood */
        }
        printf("{");
        if (refused)
            printf("\"refused\": \"%s\"", strerror(refused));
        else
            print_stats("both", &each);
        printf("}\n");
        fflush(stdout);
        free(each.us);
    }
}

/* Holds what it has until it is told to end. */
static void ready(void)
{
    char line[16];

    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return;
}

/* Spread over processes, as one may not have that many descriptors. */
static void fill(const char *directory, unsigned count)
{
    struct rlimit limit = {EACH + 100, EACH + 100};
    int done[2];
    char byte = 0;

    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("setrlimit");
    if (pipe(done) != 0)
        die("pipe");
    for (unsigned first = 0; first < count; first += EACH) {
        if (forked() == 0) {
            for (unsigned i = first; i < first + EACH && i < count; i++)
                opened(directory, "full", i, O_RDWR | O_CREAT);
            writes(done[1], 1, 1);
            for (;;)
                pause();
        }
        if (read(done[0], &byte, 1) != 1)
            die("read");
    }
    ready();
}

static void *wait_for_one(void *slot)
{
    char byte;

    if (read(*(int *)slot, &byte, 1) != 0)
        die("read");
    return NULL;
}

static void wait_in(const char *directory, unsigned count)
{
    int fd = opened(directory, "wait", 0, O_RDWR | O_CREAT);
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&thread, &attributes, wait_for_one, &fd) != 0)
            die("pthread_create");
    sleep(1); /* until the last has come to its read */
    ready();
}

static void fill_bytes(const char *directory)
{
    for (unsigned i = 0; i < MOST; i++) {
        int fd = opened(directory, "bytes", i, O_RDWR | O_CREAT);

        while (write(fd, message, LARGEST) == LARGEST)
            ;
    }
    ready();
}

static void list(const char *path, bool attributes)
{
    struct dirent *entry;
    struct stat found;
    DIR *directory = opendir(path);

    if (!directory)
        die(path);
    while (attributes && (entry = readdir(directory)))
        fstatat(dirfd(directory), entry->d_name, &found, AT_SYMLINK_NOFOLLOW);
    closedir(directory);
}

int main(int argc, char **argv)
{
    if (argc == 7 && !strcmp(argv[1], "pairs") && atoi(argv[6]) <= MOST) {
        printf("{");
        pairs(kind_of(argv[2]), argv[3], strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10),
              (unsigned)atoi(argv[6]));
        printf("}\n");
    } else if (argc == 6 && (!strcmp(argv[1], "writes") || !strcmp(argv[1], "both"))) {
        printf("{");
        users(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10),
              (unsigned)atoi(argv[5]), !strcmp(argv[1], "both"));
        printf("}\n");
    } else if (argc == 4 && !strcmp(argv[1], "beside")) {
        beside(argv[2], strtoul(argv[3], NULL, 10));
    } else if (argc == 3 && !strcmp(argv[1], "flood")) {
        int fd = opened(argv[2], "flood", (unsigned)getpid(), O_RDWR | O_CREAT);

        for (;;) {
            writes(fd, 64, 1);
            reads(fd, sizeof message, 1);
        }
    } else if (argc == 3 && !strcmp(argv[1], "list")) {
        for (;;)
            list(argv[2], false);
    } else if (argc == 3 && !strcmp(argv[1], "long")) {
        for (;;)
            list(argv[2], true);
    } else if (argc == 4 && !strcmp(argv[1], "fill")) {
        fill(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    } else if (argc == 4 && !strcmp(argv[1], "wait")) {
        wait_in(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    } else if (argc == 3 && !strcmp(argv[1], "bytes")) {
        fill_bytes(argv[2]);
    } else {
        fprintf(stderr, "usage: see the comment in crowded.c\n");
        return 2;
    }
    return 0;
}
