/*
 * _interpose: what pyfuse3 3.5 has no way to say to libfuse. This file stands between the two:
 *
 *   1. Slots are streams (FOPEN_STREAM): no file position, so no lock on it, so that a write on
 *      a handle does not wait for the read that waits on the same handle.
 *   2. The kernel may have any number of background requests (RELEASE) under way, so that a
 *      process which dies with a hundred handles leaves no slot behind for the next `ls`.
 *   3. A request has so many pages that no message is split, and so few bytes that the kernel
 *      sends no more of a write that is too long than it takes to see that: what it sends is
 *      copied before it can be refused, and everybody else waits for that.
 *   4. Requests are received by the inner loop (_loop.c), and reads, writes and interrupts go
 *      to neither of them (_messages.c).
 *
 * And a detail of the session: requests are not spliced.
 *
 * How: the object is loaded with RTLD_GLOBAL before pyfuse3, defines the functions of libfuse
 * that pyfuse3 calls to make a session, to receive, and to answer OPEN and CREATE, and calls the
 * real ones. Only public interfaces of libfuse and the kernel's <linux/fuse.h> are used.
 *
 * What would retire it: pyfuse3 passing interrupts, fuse_file_info.flags and fuse_conn_info to
 * its handlers, and libfuse a bit for FOPEN_STREAM (libfuse PR 434, "stream-like files").
 */
#include "_extension.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The kernel refuses more than this many background requests (max_user_bgreq aside). */
#define BACKGROUND_LIMIT 65535

struct fuse_session *current_session;
const struct fuse_in_header *current_request;

static struct fuse_lowlevel_ops original;
static int session_hooked;
static unsigned short max_pages; /* in one request */
static unsigned max_write;       /* bytes in one FUSE_WRITE */

/* What this file system takes of what the kernel offers. */
#define WANTED_FLAGS                                                                               \
    (FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA |              \
     FUSE_DO_READDIRPLUS | FUSE_MAX_PAGES)

/* ---- operations ---- */

/* libfuse reckons the pages from the bytes. So FUSE_INIT is answered here, and libfuse's own answer,
 * which follows, is for no request any more: the kernel says ENOENT, and libfuse expects that.
 *
 * No FUSE_ASYNC_DIO: with it, io_submit(2) leaves reads with us that nothing interrupts, and a
 * process that is killed waits for them in the kernel for ever. */
static void answer_init(const struct fuse_conn_info *conn)
{
    const struct fuse_init_in *in = (const void *)(current_request + 1);
    struct {
        struct fuse_out_header header;
        struct fuse_init_out out;
    } whole = {{sizeof whole, 0, current_request->unique},
               {.major = FUSE_KERNEL_VERSION,
                .minor = FUSE_KERNEL_MINOR_VERSION,
                .max_readahead = conn->max_readahead,
                .flags = in->flags & WANTED_FLAGS,
                .max_background = BACKGROUND_LIMIT,
                .congestion_threshold = BACKGROUND_LIMIT,
                .max_write = conn->max_write < max_write ? conn->max_write : max_write,
                .time_gran = 1,
                .max_pages = max_pages}};

    if (write(fuse_session_fd(current_session), &whole, sizeof whole) < 0)
        fuse_log(FUSE_LOG_ERR, "msfs: FUSE_INIT cannot be answered: %s\n", strerror(errno));
}

static void init_op(void *userdata, struct fuse_conn_info *conn)
{
    if (original.init)
        original.init(userdata, conn);
    answer_init(conn);
}

static PyObject *set_request_size(PyObject *module, PyObject *args)
{
    (void)module;
    if (!PyArg_ParseTuple(args, "HI:set_request_size", &max_pages, &max_write))
        return NULL;
    Py_RETURN_NONE;
}

/* ---- libfuse's functions, as pyfuse3 finds them ---- */

/* The real function: looked up in the very libfuse that this object is linked with, whatever its
 * soname (libfuse3.so.3 on Debian 12, .so.4 on Debian 13). */
void *libfuse(const char *name)
{
    Dl_info info;
    void *library, *symbol;

    if (!dladdr((void *)fuse_session_mount, &info))
        return NULL;
    library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL)
        return NULL;
    symbol = dlsym(library, name);
    dlclose(library); /* stays loaded: this object needs it */
    return symbol;
}

static const struct fuse_lowlevel_ops *hooked_operations(const struct fuse_lowlevel_ops *op,
                                                         size_t *op_size)
{
    static struct fuse_lowlevel_ops hooked;

    if (*op_size > sizeof(hooked))
        *op_size = sizeof(hooked);
    memset(&original, 0, sizeof(original));
    memcpy(&original, op, *op_size);
    hooked = original;
    hooked.init = init_op;
    /* Without write_buf, libfuse does not splice requests: messages are small, and one read(2)
     * beats a splice into a pipe and a read out of it. */
    hooked.write_buf = NULL;
    session_hooked = 1;
    return &hooked;
}

struct fuse_session *hook_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                      size_t op_size, void *userdata)
    EXPORTED("fuse_session_new");

struct fuse_session *hook_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
                                      size_t op_size, void *userdata)
{
    struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                 void *) = libfuse("fuse_session_new");
    op = hooked_operations(op, &op_size);
    return current_session = real ? real(args, op, op_size, userdata) : NULL;
}

/* From libfuse 3.17 on, fuse_session_new() of the headers calls this one. */
struct fuse_session *hook_session_new_versioned(struct fuse_args *args,
                                                const struct fuse_lowlevel_ops *op, size_t op_size,
                                                void *version, void *userdata)
    EXPORTED("fuse_session_new_versioned");

struct fuse_session *hook_session_new_versioned(struct fuse_args *args,
                                                const struct fuse_lowlevel_ops *op, size_t op_size,
                                                void *version, void *userdata)
{
    struct fuse_session *(*real)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
                                 void *, void *) = libfuse("fuse_session_new_versioned");
    op = hooked_operations(op, &op_size);
    return current_session = real ? real(args, op, op_size, version, userdata) : NULL;
}

/* A file that its handler calls not seekable is opened as a stream. It has nothing to flush:
 * a shell's redirection would send two FLUSHes. */
static struct fuse_open_out stream_open_out(const struct fuse_file_info *fi)
{
    struct fuse_open_out out = {.fh = fi->fh,
                                .open_flags = FOPEN_STREAM | FOPEN_NONSEEKABLE | FOPEN_NOFLUSH};

    if (fi->direct_io)
        out.open_flags |= FOPEN_DIRECT_IO;
    if (fi->keep_cache)
        out.open_flags |= FOPEN_KEEP_CACHE;
    return out;
}

int hook_reply_open(fuse_req_t req, const struct fuse_file_info *fi) EXPORTED("fuse_reply_open");

int hook_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
    static int (*real)(fuse_req_t, const struct fuse_file_info *);

    if (fi->nonseekable) {
        struct fuse_open_out out = stream_open_out(fi);
        return fuse_reply_buf(req, (const char *)&out, sizeof(out));
    }
    if (real == NULL)
        real = libfuse("fuse_reply_open");
    return real(req, fi);
}

static void set_timeout(double seconds, uint64_t *whole, uint32_t *nanoseconds)
{
    *whole = (uint64_t)seconds;
    *nanoseconds = (uint32_t)((seconds - (double)*whole) * 1e9);
}

static struct fuse_entry_out entry_out(const struct fuse_entry_param *e)
{
    struct fuse_entry_out out = {
        .nodeid = e->ino,
        .generation = e->generation,
        .attr = {.ino = e->attr.st_ino,
                 .size = (uint64_t)e->attr.st_size,
                 .blocks = (uint64_t)e->attr.st_blocks,
                 .atime = (uint64_t)e->attr.st_atim.tv_sec,
                 .atimensec = (uint32_t)e->attr.st_atim.tv_nsec,
                 .mtime = (uint64_t)e->attr.st_mtim.tv_sec,
                 .mtimensec = (uint32_t)e->attr.st_mtim.tv_nsec,
                 .ctime = (uint64_t)e->attr.st_ctim.tv_sec,
                 .ctimensec = (uint32_t)e->attr.st_ctim.tv_nsec,
                 .mode = e->attr.st_mode,
                 .nlink = (uint32_t)e->attr.st_nlink,
                 .uid = e->attr.st_uid,
                 .gid = e->attr.st_gid,
                 .rdev = (uint32_t)e->attr.st_rdev,
                 .blksize = (uint32_t)e->attr.st_blksize},
    };

    set_timeout(e->entry_timeout, &out.entry_valid, &out.entry_valid_nsec);
    set_timeout(e->attr_timeout, &out.attr_valid, &out.attr_valid_nsec);
    return out;
}

int hook_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
                      const struct fuse_file_info *fi) EXPORTED("fuse_reply_create");

int hook_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
                      const struct fuse_file_info *fi)
{
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {entry_out(e), stream_open_out(fi)}; /* only slots can be created */

    return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

/* ---- module ---- */

static PyObject *is_hooked(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(session_hooked);
}

/* What a library loaded after this one would be bound to. */
static PyObject *is_visible(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(dlsym(RTLD_DEFAULT, "fuse_session_new") == (void *)hook_session_new &&
                           dlsym(RTLD_DEFAULT, "fuse_reply_open") == (void *)hook_reply_open &&
                           dlsym(RTLD_DEFAULT, "fuse_session_receive_buf") ==
                               (void *)hook_receive_buf);
}

static PyObject *libfuse_version(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(fuse_pkgversion());
}

static PyMethodDef methods[] = {
    {"set_handlers", set_handlers, METH_VARARGS,
     "Who is asked for reads and writes, and told of interrupts."},
    {"set_request_size", set_request_size, METH_VARARGS,
     "How many pages and bytes the kernel may pass in one request, in the session to come."},
    {"set_pieces", set_pieces, METH_VARARGS,
     "How many bytes the smallest piece of a split write has, and which calls write one buffer."},
    {"system_call", system_call, METH_O,
     "The line of /proc/TID/syscall; empty if it cannot be seen."},
    {"first_thread", first_thread, METH_O,
     "The process that a thread belongs to; 0 if it cannot be seen."},
    {"serve", serve, METH_VARARGS,
     "Answer reads and writes, until there is a request for pyfuse3, or others have their turn."},
    {"tell", tell, METH_O, "Write each of the notifications in a buffer to the kernel."},
    {"is_hooked", is_hooked, METH_NOARGS, "Whether pyfuse3's session was made through this object."},
    {"is_visible", is_visible, METH_NOARGS, "Whether this object stands before libfuse."},
    {"libfuse_version", libfuse_version, METH_NOARGS, "Version of the libfuse in use."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_interpose", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__interpose(void)
{
    PyObject *module = PyModule_Create(&module_definition);

    if (module == NULL || PyModule_AddType(module, &RequestType) != 0 || add_outcomes(module) != 0)
        return NULL;
    return module;
}
