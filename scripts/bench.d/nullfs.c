/*
 * A libfuse file system that does nothing: one file `null`, every read and write answered at once,
 * in one thread. What no FUSE file system can beat, unless it never sleeps:
 *
 *     nullfs [-d] [-b MICROSECONDS] DIR
 *
 * -b polls the device that long before it sleeps, -d prints each request on stderr.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stats.h"

enum { FILE_INODE = 2 };

static void describe(fuse_ino_t ino, struct stat *st)
{
    *st = (struct stat){.st_ino = ino, .st_nlink = 1, .st_uid = getuid(), .st_gid = getgid()};
    st->st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {.ino = FILE_INODE};

    if (parent != FUSE_ROOT_ID || strcmp(name, "null")) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    describe(FILE_INODE, &e.attr);
    fuse_reply_entry(req, &e);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    describe(ino, &st);
    fuse_reply_attr(req, &st, 0);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->direct_io = 1;
    fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    static const char nothing[65536];

    (void)ino, (void)off, (void)fi;
    fuse_reply_buf(req, nothing, size < sizeof nothing ? size : sizeof nothing);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    (void)ino, (void)buf, (void)off, (void)fi;
    fuse_reply_write(req, size);
}

static void on_close(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino, (void)fi;
    fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops OPERATIONS = {
    .lookup = on_lookup,
    .getattr = on_getattr,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .flush = on_close,
    .release = on_close,
};

static void wait_busily(int fd, double microseconds)
{
    struct pollfd device = {.fd = fd, .events = POLLIN};
    double end = now_us() + microseconds;

    while (poll(&device, 1, 0) == 0 && now_us() < end)
        ;
}

static int serve(struct fuse_session *se, double busy)
{
    struct fuse_buf buf = {.mem = NULL};
    int got = 0;

    while (!fuse_session_exited(se)) {
        if (busy > 0)
            wait_busily(fuse_session_fd(se), busy);
        got = fuse_session_receive_buf(se, &buf);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        fuse_session_process_buf(se, &buf);
    }
    free(buf.mem);
    return got < 0 && got != -EINTR;
}

int main(int argc, char **argv)
{
    char *words[] = {argv[0], "-ofsname=nullfs,subtype=nullfs", "-d"};
    struct fuse_args args = FUSE_ARGS_INIT(2, words);
    struct fuse_session *se;
    double busy = 0;
    int option, status = 1;

    while ((option = getopt(argc, argv, "db:")) != -1) {
        if (option == 'd')
            args.argc = 3;
        else if (option == 'b')
            busy = atof(optarg);
        else
            return 2;
    }
    if (optind != argc - 1)
        return 2;
    se = fuse_session_new(&args, &OPERATIONS, sizeof OPERATIONS, NULL);
    if (!se)
        return 1;
    if (fuse_set_signal_handlers(se) == 0) {
        if (fuse_session_mount(se, argv[optind]) == 0) {
            status = serve(se, busy);
            fuse_session_unmount(se);
        }
        fuse_remove_signal_handlers(se);
    }
    fuse_session_destroy(se);
    return status;
}
