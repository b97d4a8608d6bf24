/*
 * The inner loop: reads and writes are answered one after the other, without a turn of trio.
 *
 * pyfuse3's session task waits for a request, receives it and processes it; between two requests
 * trio goes round once. That is worth it for OPEN or LOOKUP. A FUSE_READ or FUSE_WRITE needs less
 * time than trio's turn. So where pyfuse3 waits for its descriptor, the session task calls
 * serve(), which
 *
 *   - receives, and answers every READ and WRITE at once (_messages.c), and every GETXATTR for
 *     an attribute of the kernel's own;
 *   - keeps any other request, and returns: pyfuse3 then receives that one (hook_receive_buf);
 *   - when there is no request, sleeps until there is one, or until trio has something to do:
 *     trio waits in epoll, whose descriptor can itself be waited for.
 *
 * It reads first and waits only if there was nothing: where client and daemon share a core, the
 * answer often wakes the client at once, and its next request is there when the daemon goes on.
 *
 * Other tasks (network, signals, timeouts) are not kept waiting:
 *
 *   - a task that can run is in the set `runnable` (fuse/inner_loop.py keeps it): serve() returns;
 *   - so it does when trio's descriptor is readable, or trio's next deadline is over. During a
 *     flood it looks at both after every LOOK_AFTER requests, some 100 µs. What is left until then
 *     outlives the call, or a flood of other requests would never let it look.
 *
 * The GIL is held while requests are handled, and never while it waits.
 */
#include "_extension.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>

#define NEVER INT64_MAX
#define LOOK_AFTER 16
#define BIG_REQUEST 8192 /* bytes; what is larger counts as several */
#define OTHER_REQUEST 4  /* what one that pyfuse3 handles counts as */

/* Looking in vain takes at most a fiftieth of a core (PRICE: after so many times as long there may
 * be another look), and less and less where it never finds anything, down to a thousandth. Some
 * looks may be close together (SAVED, in nanoseconds that have been waited beforehand). */
#define PRICE 50
#define MOST_PRICE 1000
#define SAVED 25000000

enum outcome { REQUEST, TURN, EMPTY, FAILED };

static struct fuse_buf request; /* received last; its memory is libfuse's */
static int kept;                /* `request` is for pyfuse3, */
static int kept_result;         /* and this is what receiving it gave */
static int patience = LOOK_AFTER;
static int64_t next_look; /* not before that time */
static int price = PRICE;

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int receive(struct fuse_buf *buffer)
{
    static int (*real)(struct fuse_session *, struct fuse_buf *);

    if (real == NULL)
        real = libfuse("fuse_session_receive_buf");
    return real(current_session, buffer);
}

/* A request may be taken back (its process was killed) before it is read, so the descriptor does
 * not block; pyfuse3 knows EINTR as a reason to wait again, but not EAGAIN. */
int hook_receive_buf(struct fuse_session *session, struct fuse_buf *buffer)
{
    (void)session; /* there is only one */
    if (kept) {
        struct fuse_buf empty = *buffer;

        *buffer = request;
        request = empty;
        kept = 0;
        current_request = buffer->mem;
        return kept_result;
    }
    int result = receive(buffer);
    current_request = buffer->mem;
    return result == -EAGAIN ? -EINTR : result;
}

/* ---- waiting ---- */

struct waiting {
    int others;       /* trio's descriptor, -1 if it is not known */
    int64_t deadline; /* when trio has to go on, or NEVER */
    int64_t busy;     /* nanoseconds to look for a request before sleeping */
};

static int is_readable(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};

    return poll(&one, 1, 0) > 0;
}

static int is_turn_of_others(const struct waiting *w)
{
    return w->others < 0 || is_readable(w->others) || (w->deadline != NEVER && now() >= w->deadline);
}

/* Look for a request for a while. Cheaper than a sleep and a wake-up between two cores if one
 * comes; in vain if it does not, as where the client shares this core. */
static int look_busily(const struct waiting *w)
{
    int64_t began = now(), end = began;

    if (began < next_look)
        return -EAGAIN;
    do {
        int result = receive(&request);

        if (result != -EAGAIN) {
            price = PRICE;
            return result;
        }
        end = now();
    } while (end < began + w->busy);
    if (next_look < end - SAVED)
        next_look = end - SAVED;
    next_look += price * (end - began);
    price = 2 * price < MOST_PRICE ? 2 * price : MOST_PRICE;
    return -EAGAIN;
}

/* Sleep until a request comes or others have their turn. */
static enum outcome sleep_until_ready(const struct waiting *w)
{
    struct pollfd both[] = {{.fd = fuse_session_fd(current_session), .events = POLLIN},
                            {.fd = w->others, .events = POLLIN}};
    struct timespec left = {0};

    if (w->deadline != NEVER) {
        int64_t rest = w->deadline - now();

        if (rest <= 0)
            return TURN;
        left = (struct timespec){rest / 1000000000, rest % 1000000000};
    }
    int got = ppoll(both, 2, w->deadline == NEVER ? NULL : &left, NULL);
    if (got < 0)
        return FAILED;
    return got == 0 || both[1].revents ? TURN : REQUEST;
}

/* ---- serving ---- */

static enum outcome wait_for_request(const struct waiting *w, int *result)
{
    enum outcome outcome = REQUEST;

    Py_BEGIN_ALLOW_THREADS
    if (w->busy)
        *result = look_busily(w);
    if (*result == -EAGAIN)
        outcome = w->others < 0 ? EMPTY : sleep_until_ready(w);
    Py_END_ALLOW_THREADS
    if (outcome == FAILED) {
        if (errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            return FAILED;
        }
        return PyErr_CheckSignals() == 0 ? REQUEST : FAILED;
    }
    return outcome;
}

static enum outcome serve_messages(PyObject *runnable, const struct waiting *w)
{
    enum outcome outcome;

    for (;;) {
        if (PySet_GET_SIZE(runnable) > 0)
            return TURN;
        if (patience <= 0) {
            patience = LOOK_AFTER;
            if (is_turn_of_others(w))
                return TURN;
        }
        int result = receive(&request);
        if (result == -EAGAIN && (outcome = wait_for_request(w, &result)) != REQUEST)
            return outcome;
        if (result == -EAGAIN || result == -EINTR)
            continue;
        if (result <= 0 || !handle_message(request.mem)) {
            patience -= OTHER_REQUEST;
            kept = 1;
            kept_result = result;
            return REQUEST;
        }
        patience -= 1 + result / BIG_REQUEST;
    }
}

PyObject *serve(PyObject *module, PyObject *args)
{
    PyObject *runnable;
    long long deadline, busy;
    struct waiting w;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!iLL:serve", &PySet_Type, &runnable, &w.others, &deadline, &busy))
        return NULL;
    w.deadline = deadline < 0 ? NEVER : deadline;
    w.busy = busy;
    enum outcome outcome = serve_messages(runnable, &w);
    return outcome == FAILED ? NULL : PyLong_FromLong(outcome);
}

int add_outcomes(PyObject *module)
{
    return PyModule_AddIntMacro(module, REQUEST) || PyModule_AddIntMacro(module, TURN) ||
           PyModule_AddIntMacro(module, EMPTY);
}
