/*
 * Clones of /dev/fuse, so that many reads that wait slow nobody down.
 *
 * For each open /dev/fuse the kernel keeps the requests that have no answer yet in 256 lists, and
 * with each answer it searches one of them from its beginning. Past 10,000 reads that wait, an
 * answer takes half as long again. A clone (FUSE_DEV_IOC_CLONE) receives from the same queue and
 * has lists of its own. So when as many reads of a device wait as there are lists, the session
 * goes on with another one. Its descriptor keeps its number, for libfuse and all others.
 *
 * A request is answered where it was received. Every one but a read that waits is answered before
 * the next is received, so of these alone the device is remembered. A device stays open: the one
 * with the fewest reads is the next.
 */
#include "_extension.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FULL 256 /* reads that wait in one device */
#define MOST 128 /* devices: enough for 32,768 reads */

static struct device {
    int fd; /* its own, beside the session's that is now the one, now the other */
    unsigned waiting;
} devices[MOST] = {{-1, 0}};
static unsigned count = 1, current;

/* Another clone as the last of the devices. False if it cannot be had. */
static int add_device(void)
{
    uint32_t session = (uint32_t)fuse_session_fd(current_session);
    int fd = count < MOST ? open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK) : -1;

    if (fd < 0)
        return 0;
    if (ioctl(fd, FUSE_DEV_IOC_CLONE, &session) != 0) {
        close(fd);
        return 0;
    }
    devices[count++] = (struct device){fd, 0};
    return 1;
}

static void change_device(void)
{
    int session = fuse_session_fd(current_session);
    unsigned next = 0;

    if (devices[0].fd < 0 && (devices[0].fd = fcntl(session, F_DUPFD_CLOEXEC, 0)) < 0)
        return;
    for (unsigned i = 1; i < count; i++)
        if (devices[i].waiting < devices[next].waiting)
            next = i;
    if (devices[next].waiting >= FULL && add_device())
        next = count - 1;
    if (dup3(devices[next].fd, session, O_CLOEXEC) >= 0)
        current = next;
}

int device_fd(unsigned device)
{
    return device == current ? fuse_session_fd(current_session) : devices[device].fd;
}

unsigned read_waits(void)
{
    unsigned device = current;

    if (++devices[device].waiting >= FULL)
        change_device();
    return device;
}

void read_answered(unsigned device)
{
    devices[device].waiting--;
}
