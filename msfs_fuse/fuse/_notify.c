/*
 * _notify: many notifications to the kernel in one go, without the interpreter's lock.
 *
 * The kernel takes one notification in a write(2), and that may wait for the lock of a directory.
 * From Python each of them would cost a change of the lock's owner, there and back.
 */
#include "_extension.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

PyObject *tell(PyObject *module, PyObject *notifications)
{
    Py_buffer all;

    (void)module;
    if (current_session == NULL)
        Py_RETURN_NONE;
    if (PyObject_GetBuffer(notifications, &all, PyBUF_CONTIG_RO) != 0)
        return NULL;
    int fd = fuse_session_fd(current_session);
    Py_BEGIN_ALLOW_THREADS
    const char *at = all.buf, *end = at + all.len;
    struct fuse_out_header header;
    while ((size_t)(end - at) >= sizeof(header)) {
        memcpy(&header, at, sizeof(header));
        if (header.len < sizeof(header) || header.len > (size_t)(end - at))
            break;
        /* ENOENT where the kernel does not know of it any more: all is well then, too. */
        if (write(fd, at, header.len) < 0 && errno != ENOENT)
            break; /* the session has ended */
        at += header.len;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&all);
    Py_RETURN_NONE;
}
