/* Reads or writes by io_uring: uring PATH r|R|w|W SIZE SEGMENTS OFFSET [FD [HOW [COUNT]]].
 * A capital is vectored; HOW is plain, async, sqpoll or fixed; COUNT are asked for at once. Prints
 * for each the result, a byte count or minus an error code, and for a read also the data. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 8

int main(int argc, char **argv)
{
    static char data[MOST][1 << 20];
    static struct iovec segments[1024];
    int size = atoi(argv[3]), count = atoi(argv[4]);
    int file = argc > 6 ? atoi(argv[6]) : open(argv[1], O_WRONLY);
    const char *how = argc > 7 ? argv[7] : "plain";
    int requests = argc > 8 ? atoi(argv[8]) : 1;
    int polls = strcmp(how, "sqpoll") == 0, fixed = strcmp(how, "fixed") == 0;
    struct io_uring_params p = {.flags = polls ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 1000};
    int ring = syscall(SYS_io_uring_setup, MOST, &p);

    if (ring < 0 || file < 0)
        return 77;
    char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                    IORING_OFF_SQ_RING);
    char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
                    PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *sqes = mmap(0, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE,
                                     MAP_SHARED, ring, IORING_OFF_SQES);
    int writes = argv[2][0] == 'w' || argv[2][0] == 'W';
    int vectored = argv[2][0] == 'R' || argv[2][0] == 'W';
    struct iovec whole = {data, sizeof data};

    if (fixed && syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &whole, 1) < 0)
        return 78;
    if (writes)
        memset(data, 'x', size);
    for (int i = 0; i < count; i++)
        segments[i] = (struct iovec){data[0] + i * (size / count), size / count};
    for (int i = 0; i < requests; i++) {
        struct io_uring_sqe *sqe = &sqes[i];

        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = vectored ? (writes ? IORING_OP_WRITEV : IORING_OP_READV)
                      : fixed  ? IORING_OP_READ_FIXED
                               : (writes ? IORING_OP_WRITE : IORING_OP_READ);
        sqe->flags = strcmp(how, "async") == 0 ? IOSQE_ASYNC : 0;
        sqe->fd = file;
        sqe->addr = (unsigned long)(vectored ? (void *)segments : data[i]);
        sqe->len = vectored ? count : size;
        sqe->off = atoll(argv[5]);
        sqe->user_data = i;
        ((unsigned *)(sq + p.sq_off.array))[i] = i;
    }
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), requests, __ATOMIC_RELEASE);
    unsigned *head = (unsigned *)(cq + p.cq_off.head), *tail = (unsigned *)(cq + p.cq_off.tail);

    for (int left = requests, fresh = requests; left > 0; left--, fresh = 0) {
        if (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE) || fresh)
            if (syscall(SYS_io_uring_enter, ring, fresh, 1,
                        IORING_ENTER_GETEVENTS | (polls ? IORING_ENTER_SQ_WAKEUP : 0), 0, 0) < 0)
                return 79;
        struct io_uring_cqe *cqe = (struct io_uring_cqe *)(cq + p.cq_off.cqes) +
                                   (*head & *(unsigned *)(cq + p.cq_off.ring_mask));
        printf("%d", cqe->res);
        if (!writes && cqe->res > 0)
            printf(" %.*s", cqe->res, data[cqe->user_data]);
        printf("\n");
        fflush(stdout);
        __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    }
    return 0;
}
