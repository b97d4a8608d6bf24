/* What the parts of the extension know of each other. */
#ifndef MSFS_EXTENSION_H
#define MSFS_EXTENSION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdint.h>

#define EXPORTED(name) __asm__(name) __attribute__((visibility("default")))

/* _interpose.c */

/* The session that pyfuse3 has made, once it has. */
extern struct fuse_session *current_session;

/* The request that libfuse handles. */
extern const struct fuse_in_header *current_request;

/* A function of the real libfuse. */
void *libfuse(const char *name);

/* _messages.c */

extern PyTypeObject RequestType;
PyObject *set_handlers(PyObject *module, PyObject *args);

/* Answer a read, a write, a closing or an interrupt. False for any other request, which is for
 * libfuse. */
int handle_message(const struct fuse_in_header *header);

/* _loop.c */

/* libfuse's name, as pyfuse3 finds it. */
int hook_receive_buf(struct fuse_session *session, struct fuse_buf *buffer)
    EXPORTED("fuse_session_receive_buf");

PyObject *serve(PyObject *module, PyObject *args);
int add_outcomes(PyObject *module);

/* _caller.c */

/* Whether a write is all that its thread is writing. False if that has to be looked at further. */
int is_surely_whole(uint32_t tid, size_t size);

PyObject *set_pieces(PyObject *module, PyObject *args);
PyObject *system_call(PyObject *module, PyObject *number);
PyObject *first_thread(PyObject *module, PyObject *number);

/* _devices.c */

/* A read that has just been received waits for its answer; in which device. */
unsigned read_waits(void);

/* Where to answer it, and that it has been. */
int device_fd(unsigned device);
void read_answered(unsigned device);

/* _notify.c */

PyObject *tell(PyObject *module, PyObject *args);

#endif
