/*
 * Reads, writes and closings, in the kernel's own words.
 *
 * FUSE_READ and FUSE_WRITE carry messages, so they are what counts. The inner loop (_loop.c) brings
 * them here as the kernel sent them, past libfuse: they are read and answered by the structures of
 * <linux/fuse.h>, which are public and have not changed since protocol 7.9. That halves what a
 * message costs beside Python, and lets a read wait in a way that libfuse and pyfuse3 have not:
 *
 *   - A write is answered there and then, with what Python's `on_write` says.
 *   - A read is a Request. `on_read` answers it at once, or keeps it: then it waits, and is
 *     answered from wherever the message comes, with no task held for it.
 *   - Whoever ends closes all that he had open at once, perhaps ten thousands of files, and what
 *     others ask for then is behind these. So a FUSE_RELEASE is done here, in a part of the time.
 *   - A signal for a reader that waits comes as FUSE_INTERRUPT with the number of its request.
 *     The kernel sends it after the request itself, and there is one reader of the descriptor, so
 *     an interrupt is for a read that waits here, or for a request that has been answered.
 */
#include "_extension.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static PyObject *read_handler;      /* (Request, fh, offset, size, flags, cached, tid)
                                       -> bytes | None */
static PyObject *write_handler;     /* (fh, data, tid | None) -> errno, 0 for done */
static PyObject *uring_handler;     /* (fh, tid, arms) -> bool: it can read now */
static PyObject *release_handler;   /* (fh) -> None */
static PyObject *interrupt_handler; /* (Request) -> None */
static int debug;                   /* print them, as libfuse does the others */
static PyObject *waiting;           /* number of a request: address of its Request, which leaves
                                       when it is answered or forgotten */

/* Messages come and go. By default malloc gives their pages back to the kernel at once and asks
 * for them again, which costs more than a large message itself. So it keeps this much. */
#define KEPT_MEMORY (8 << 20)

/* malloc maps what is larger: more than any message. */
#define MAPPED_MEMORY (2 << 20)

/* ---- answers ---- */

/* False if the kernel no longer wants it. */
static int answer_in(int fd, uint64_t number, int error, const void *data, size_t size)
{
    struct fuse_out_header header = {(uint32_t)(sizeof header + size), -error, number};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)data, size}};

    return writev(fd, parts, 2) >= 0;
}

static int answer(uint64_t number, int error, const void *data, size_t size)
{
    return answer_in(fuse_session_fd(current_session), number, error, data, size);
}

static void answer_write(uint64_t number, int error, uint32_t size)
{
    struct {
        struct fuse_out_header header;
        struct fuse_write_out out;
    } whole = {{sizeof whole, 0, number}, {size, 0}};

    if (error)
        whole.header = (struct fuse_out_header){sizeof whole.header, -error, number};
    /* Fails only if the kernel no longer wants it, and then there is nothing to do. */
    ssize_t unused = write(fuse_session_fd(current_session), &whole, whole.header.len);
    (void)unused;
}

/* ---- Request: one FUSE_READ that has not been answered yet ---- */

typedef struct {
    PyObject_HEAD
    uint64_t number; /* the kernel's */
    PyObject *key;   /* the same, in `waiting`, while it waits */
    unsigned device; /* which the kernel wants the answer in, while it waits */
    int pending;     /* it has not been answered */
} Request;

static int wait_for_answer(Request *self)
{
    PyObject *address = PyLong_FromVoidPtr(self);

    self->key = PyLong_FromUnsignedLongLong(self->number);
    if (address == NULL || self->key == NULL || PyDict_SetItem(waiting, self->key, address) != 0)
        Py_CLEAR(self->key);
    Py_XDECREF(address);
    if (self->key == NULL)
        return 0;
    self->device = read_waits();
    return 1;
}

static int answer_request(Request *self, int error, const void *data, size_t size)
{
    self->pending = 0;
    if (self->key == NULL)
        return answer(self->number, error, data, size);
    if (PyDict_DelItem(waiting, self->key) != 0)
        PyErr_WriteUnraisable(self->key);
    Py_CLEAR(self->key);
    read_answered(self->device);
    return answer_in(device_fd(self->device), self->number, error, data, size);
}

static int check_pending(Request *self)
{
    if (self->pending)
        return 1;
    PyErr_SetString(PyExc_RuntimeError, "the request has been answered already");
    return 0;
}

static PyObject *request_reply(Request *self, PyObject *data)
{
    Py_buffer view;

    if (!check_pending(self) || PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO) != 0)
        return NULL;
    int wanted = answer_request(self, 0, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return PyBool_FromLong(wanted);
}

static PyObject *request_error(Request *self, PyObject *number)
{
    long code = PyLong_AsLong(number);

    if ((code == -1 && PyErr_Occurred()) || !check_pending(self))
        return NULL;
    return PyBool_FromLong(answer_request(self, (int)code, NULL, 0));
}

static void request_dealloc(Request *self)
{
    if (self->pending) /* forgotten by Python: its reader must not wait for ever */
        answer_request(self, EIO, NULL, 0);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef request_methods[] = {
    {"reply", (PyCFunction)request_reply, METH_O,
     "Answer with these bytes. False if the kernel no longer wants them."},
    {"error", (PyCFunction)request_error, METH_O,
     "Answer with this errno. False if the kernel no longer wants it."},
    {NULL, NULL, 0, NULL}};

PyTypeObject RequestType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "msfs_fuse.fuse._interpose.Request",
    .tp_doc = "A read the kernel waits for. Answer it once, with reply() or error().",
    .tp_basicsize = sizeof(Request),
    .tp_dealloc = (destructor)request_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = request_methods,
};

/* ---- what the kernel asks ---- */

/* Calls `handler` with these new references, which it takes. One that is NULL is an error set. */
static PyObject *call(PyObject *handler, PyObject **arguments, size_t count)
{
    PyObject *result = NULL;
    size_t made = 0;

    while (made < count && arguments[made] != NULL)
        made++;
    if (made == count)
        result = PyObject_Vectorcall(handler, arguments, count | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                     NULL);
    for (size_t i = 0; i < count; i++)
        Py_XDECREF(arguments[i]);
    return result;
}

static void handle_read(Request *request, const struct fuse_read_in *in, uint32_t tid)
{
    /* Only direct reads carry the reader's lock owner; those that fill the page cache (splice,
     * mmap, readahead) hold locked pages while they wait and must not wait. */
    PyObject *arguments[] = {NULL, /* the callee's */
                             Py_NewRef(request),
                             PyLong_FromUnsignedLongLong(in->fh),
                             PyLong_FromUnsignedLongLong(in->offset),
                             PyLong_FromUnsignedLong(in->size),
                             PyLong_FromUnsignedLong(in->flags),
                             PyBool_FromLong(!(in->read_flags & FUSE_READ_LOCKOWNER)),
                             PyLong_FromUnsignedLong(tid)};
    PyObject *result = call(read_handler, arguments + 1, 7);

    if (result != NULL && request->pending) {
        if (result == Py_None) {
            if (!wait_for_answer(request))
                Py_CLEAR(result);
        } else {
            PyObject *sent = request_reply(request, result);
            Py_XSETREF(result, sent);
        }
    }
    if (result == NULL) {
        PyErr_WriteUnraisable(read_handler);
        if (request->pending)
            answer_request(request, EIO, NULL, 0);
    }
    Py_XDECREF(result);
}

static void read_message(const struct fuse_in_header *header, const struct fuse_read_in *in)
{
    Request *request = PyObject_New(Request, &RequestType);

    if (request == NULL) {
        PyErr_WriteUnraisable(read_handler);
        answer(header->unique, ENOMEM, NULL, 0);
        return;
    }
    request->number = header->unique;
    request->key = NULL;
    request->pending = 1;
    handle_read(request, in, header->pid);
    Py_DECREF(request);
}

static void write_message(const struct fuse_in_header *header, const struct fuse_write_in *in)
{
    /* The offset means nothing: io_uring and RWF_APPEND send one. Pieces of a split write are told
     * by their size and the caller's system call; where that needs a further look, Python has the
     * number of the thread. */
    int whole = is_surely_whole(header->pid, in->size);
    PyObject *arguments[] = {NULL, /* the callee's */
                             PyLong_FromUnsignedLongLong(in->fh),
                             PyBytes_FromStringAndSize((const char *)(in + 1), in->size),
                             whole ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(header->pid)};
    PyObject *result = call(write_handler, arguments + 1, 3);
    long code = result ? PyLong_AsLong(result) : -1;

    if (code == -1) {
        PyErr_WriteUnraisable(write_handler);
        code = EIO;
    }
    Py_XDECREF(result);
    answer_write(header->unique, (int)code, in->size);
}

/* io_uring polls a regular file before it reads, and after a short read: fuse/uring.py has why that
 * matters. In its polls it does not ask for POLLHUP, which poll(2), select(2) and epoll always do
 * where they ask for POLLIN. Before a read it asks for nothing else; after one for POLLPRI too. */
static int poll_by_uring(const struct fuse_in_header *header, const struct fuse_poll_in *in)
{
    struct {
        struct fuse_out_header header;
        struct fuse_poll_out out;
    } whole = {{sizeof whole, 0, header->unique}, {POLLIN | POLLRDNORM, 0}};
    int arms = (in->events & (POLLIN | POLLPRI | POLLHUP)) == (POLLIN | POLLPRI);

    if (!arms && in->events != POLLIN)
        return 0;
    PyObject *arguments[] = {NULL, /* the callee's */
                             PyLong_FromUnsignedLongLong(in->fh),
                             PyLong_FromUnsignedLong(header->pid), PyBool_FromLong(arms)};
    PyObject *result = call(uring_handler, arguments + 1, 3);

    if (result == NULL)
        PyErr_WriteUnraisable(uring_handler);
    Py_XDECREF(result);
    if (result != Py_True)
        return 0;
    ssize_t unused = write(fuse_session_fd(current_session), &whole, sizeof whole);
    (void)unused; /* fails only if the kernel no longer wants it */
    return 1;
}

static void release(const struct fuse_in_header *header, const struct fuse_release_in *in)
{
    PyObject *arguments[] = {NULL, /* the callee's */ PyLong_FromUnsignedLongLong(in->fh)};
    PyObject *result = call(release_handler, arguments + 1, 1);

    if (result == NULL)
        PyErr_WriteUnraisable(release_handler);
    Py_XDECREF(result);
    answer(header->unique, 0, NULL, 0);
}

static void interrupt(const struct fuse_interrupt_in *in)
{
    PyObject *key = PyLong_FromUnsignedLongLong(in->unique);
    PyObject *address = key ? PyDict_GetItemWithError(waiting, key) : NULL;

    if (address != NULL) {
        PyObject *request = Py_NewRef((PyObject *)PyLong_AsVoidPtr(address));
        PyObject *result = PyObject_CallOneArg(interrupt_handler, request);

        Py_XDECREF(result);
        Py_DECREF(request);
    }
    Py_XDECREF(key);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(interrupt_handler);
}

static void show(const struct fuse_in_header *header, const char *name)
{
    if (debug)
        fuse_log(FUSE_LOG_DEBUG, "unique: %llu, opcode: %s (%i), nodeid: %llu, insize: %u, pid: %u\n",
                 (unsigned long long)header->unique, name, header->opcode,
                 (unsigned long long)header->nodeid, header->len, header->pid);
}

/* `ls -l` asks for attributes that belong to the kernel. Files here cannot have any. Told so
 * (EOPNOTSUPP), it asks for each of them once in all; told that this file has none (ENODATA), it
 * would ask each name. cp(1), tar(1) and rsync(1) take both alike. */
static int is_foreign(const struct fuse_getxattr_in *in)
{
    const char *name = (const char *)(in + 1); /* ends with a 0: the kernel writes it */

    return strncmp(name, "security.", 9) == 0 || strncmp(name, "system.", 7) == 0;
}

int handle_message(const struct fuse_in_header *header)
{
    const void *in = header + 1;

    switch (header->opcode) {
    case FUSE_READ:
        show(header, "READ");
        read_message(header, in);
        return 1;
    case FUSE_WRITE:
        show(header, "WRITE");
        write_message(header, in);
        return 1;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        show(header, "RELEASE");
        release(header, in);
        return 1;
    case FUSE_INTERRUPT:
        show(header, "INTERRUPT");
        interrupt(in);
        return 1;
    case FUSE_POLL:
        if (!poll_by_uring(header, in))
            return 0;
        show(header, "POLL");
        return 1;
    case FUSE_GETXATTR:
        if (!is_foreign(in))
            return 0;
        show(header, "GETXATTR");
        answer(header->unique, EOPNOTSUPP, NULL, 0);
        return 1;
    }
    return 0;
}

PyObject *set_handlers(PyObject *module, PyObject *args)
{
    PyObject *on_read, *on_write, *on_uring_poll, *on_release, *on_interrupt;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOp:set_handlers", &on_read, &on_write, &on_uring_poll,
                          &on_release, &on_interrupt, &debug))
        return NULL;
    if (waiting == NULL && (waiting = PyDict_New()) == NULL)
        return NULL;
    mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
    mallopt(M_MMAP_THRESHOLD, MAPPED_MEMORY);
    Py_XSETREF(read_handler, Py_NewRef(on_read));
    Py_XSETREF(write_handler, Py_NewRef(on_write));
    Py_XSETREF(uring_handler, Py_NewRef(on_uring_poll));
    Py_XSETREF(release_handler, Py_NewRef(on_release));
    Py_XSETREF(interrupt_handler, Py_NewRef(on_interrupt));
    Py_RETURN_NONE;
}
