/*
 * _notify: many notifications to the kernel in one go, without the interpreter's lock.
 *
 * The kernel takes one notification in a write(2), and that may wait for the lock of a directory.
 * From Python each of them would cost a change of the lock's owner, there and back.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

static PyObject *tell(PyObject *module, PyObject *args)
{
    int fd;
    Py_buffer all;

    (void)module;
    if (!PyArg_ParseTuple(args, "iy*:tell", &fd, &all))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    const char *at = all.buf, *end = at + all.len;
    struct fuse_out_header header;
    while ((size_t)(end - at) >= sizeof(header)) {
        memcpy(&header, at, sizeof(header));
        if (header.len < sizeof(header) || header.len > (size_t)(end - at))
            break;
        /* ENOENT where the kernel does not know of it any more: all is well then, too. */
        if (write(fd, at, header.len) < 0 && (errno == ENOTCONN || errno == ENODEV || errno == EBADF))
            break;
        at += header.len;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&all);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"tell", tell, METH_VARARGS, "Write each of the notifications in a buffer to the kernel."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_notify", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__notify(void) { return PyModule_Create(&module_definition); }
