/* One read or write by io_uring: uring PATH r|R|w|W SIZE SEGMENTS OFFSET. A capital is vectored.
 * Prints the result, a byte count or minus an error code, and for a read also the data. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char data[1 << 20];
    static struct iovec segments[1024];
    int size = atoi(argv[3]), count = atoi(argv[4]);
    int file = argc > 6 ? atoi(argv[6]) : open(argv[1], O_WRONLY);
    struct io_uring_params p = {0};
    int ring = syscall(SYS_io_uring_setup, 4, &p);

    if (ring < 0 || file < 0)
        return 77;
    char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                    IORING_OFF_SQ_RING);
    char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
                    PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *sqe = mmap(0, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE,
                                    MAP_SHARED, ring, IORING_OFF_SQES);
    int writes = argv[2][0] == 'w' || argv[2][0] == 'W';
    int vectored = argv[2][0] == 'R' || argv[2][0] == 'W';

    if (writes)
        memset(data, 'x', size);
    for (int i = 0; i < count; i++)
        segments[i] = (struct iovec){data + i * (size / count), size / count};
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = vectored ? (writes ? IORING_OP_WRITEV : IORING_OP_READV)
                           : (writes ? IORING_OP_WRITE : IORING_OP_READ);
    sqe->fd = file;
    sqe->addr = (unsigned long)(vectored ? (void *)segments : data);
    sqe->len = vectored ? count : size;
    sqe->off = atoll(argv[5]);
    *(unsigned *)(sq + p.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
        return 78;
    struct io_uring_cqe *cqe = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    printf("%d", cqe->res);
    if (!writes && cqe->res > 0)
        printf(" %.*s", cqe->res, data);
    printf("\n");
    return 0;
}
