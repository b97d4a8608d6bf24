/*
 * The system call that a thread waits in, from /proc/TID/syscall.
 *
 * The kernel splits a write of many pages, and a piece must not become a message. The request does
 * not tell; the system call of the writer does. So this is in the way of each message of a few
 * hundred bytes and more, and the common answer is found here, without Python: a plain write(2),
 * whose third argument is what has come. fuse/procfs.py has the rules for everything else.
 *
 * The files of the threads that asked last are kept open, since looking at an open one costs a
 * third of opening it. A file stays with its thread: it does not show another one that gets the
 * same number later, but fails, and is opened anew.
 */
#include "_extension.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEPT_OPEN 64
#define LINE_LENGTH 256

struct file {
    uint32_t tid; /* 0: none is open */
    int fd;
};

static struct file files[KEPT_OPEN];   /* by the last bits of the thread's number */
static Py_ssize_t smallest_piece;      /* in bytes */
static unsigned char plain_writes[16]; /* system calls that write one buffer: their numbers */
static Py_ssize_t plain_writes_count;

/* ---- files ---- */

static void close_file(struct file *file)
{
    if (file->tid != 0)
        close(file->fd);
    file->tid = 0;
}

static void close_all(void)
{
    for (size_t i = 0; i < KEPT_OPEN; i++)
        close_file(&files[i]);
}

static int open_file(struct file *file, uint32_t tid)
{
    char path[32];

    close_file(file);
    snprintf(path, sizeof path, "/proc/%u/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        close_all();
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return 0;
    *file = (struct file){tid, fd};
    return 1;
}

/* The line of a thread, or "" with errno. */
static void look(uint32_t tid, char line[LINE_LENGTH])
{
    struct file *file = &files[tid % KEPT_OPEN];
    int is_new;

    line[0] = 0;
    if (tid == 0) { /* of another pid namespace */
        errno = ESRCH;
        return;
    }
    do {
        is_new = file->tid != tid;
        if (is_new && !open_file(file, tid))
            return;
        ssize_t got = pread(file->fd, line, LINE_LENGTH - 1, 0);
        if (got > 0) {
            line[got] = 0;
            return;
        }
        int error = got < 0 ? errno : ESRCH;
        close_file(file); /* of a thread that was, perhaps */
        errno = error;
    } while (!is_new);
}

/* ---- what they tell ---- */

int is_surely_whole(uint32_t tid, size_t size)
{
    char line[LINE_LENGTH], *rest;

    if ((Py_ssize_t)size < smallest_piece)
        return 1;
    look(tid, line);
    long number = strtol(line, &rest, 10); /* "running" has none */
    if (rest == line || number < 0 || number > UCHAR_MAX ||
        memchr(plain_writes, (int)number, (size_t)plain_writes_count) == NULL)
        return 0;
    strtoull(rest, &rest, 16); /* the descriptor, and where the buffer is */
    strtoull(rest, &rest, 16);
    return strtoull(rest, NULL, 16) == size;
}

/* The process that a thread belongs to: /proc/TID/task lists its first thread first. Room for one name
 * or two, since there may be thousands. /proc/TID/status tells as well, but lists all groups first. */
PyObject *first_thread(PyObject *module, PyObject *number)
{
    char path[32], entries[112];
    unsigned long tid = PyLong_AsUnsignedLong(number), first = 0;

    (void)module;
    if (tid == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    snprintf(path, sizeof path, "/proc/%u/task", (uint32_t)tid);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        long got = syscall(SYS_getdents64, fd, entries, sizeof entries);

        for (long at = 0; at < got && first == 0;) {
            const struct dirent64 *entry = (const void *)(entries + at);

            first = strtoul(entry->d_name, NULL, 10); /* 0 for `.` and `..` */
            at += entry->d_reclen;
        }
        close(fd);
    }
    return PyLong_FromUnsignedLong(first);
}

PyObject *set_pieces(PyObject *module, PyObject *args)
{
    const char *numbers;
    Py_ssize_t smallest, count;

    (void)module;
    if (!PyArg_ParseTuple(args, "ny#:set_pieces", &smallest, &numbers, &count))
        return NULL;
    if (count > (Py_ssize_t)sizeof plain_writes) {
        PyErr_SetString(PyExc_ValueError, "too many system calls");
        return NULL;
    }
    memcpy(plain_writes, numbers, (size_t)count);
    plain_writes_count = count;
    smallest_piece = smallest;
    Py_RETURN_NONE;
}

PyObject *system_call(PyObject *module, PyObject *number)
{
    char line[LINE_LENGTH];
    unsigned long tid = PyLong_AsUnsignedLong(number);

    (void)module;
    if (tid == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    look((uint32_t)tid, line);
    if (line[0] == 0 && (errno == EPERM || errno == EACCES))
        return PyErr_SetFromErrno(PyExc_PermissionError);
    return PyBytes_FromString(line);
}
