/*
 * Windows mailslots under Wine, measured as client.c measures Linux's channels:
 *
 *     mailslot.exe write|pair|pingpong SIZE COUNT
 */
#include <stdatomic.h>
#include <string.h>

#include "stats.h"

enum { WARM_UP = 200, LARGEST = 65536 };

#define THERE "\\\\.\\mailslot\\msfs-bench-there"
#define BACK "\\\\.\\mailslot\\msfs-bench-back"

static char message[LARGEST];

static void check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: error %lu\n", what, GetLastError());
        exit(1);
    }
}

static HANDLE server(const char *name)
{
    HANDLE slot = CreateMailslotA(name, 0, MAILSLOT_WAIT_FOREVER, NULL);

    check(slot != INVALID_HANDLE_VALUE, name);
    return slot;
}

static HANDLE client(const char *name)
{
    HANDLE slot = CreateFileA(name, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);

    check(slot != INVALID_HANDLE_VALUE, name);
    return slot;
}

static void put(HANDLE slot, DWORD size)
{
    DWORD done;

    check(WriteFile(slot, message, size, &done, NULL) && done == size, "WriteFile");
}

static void get(HANDLE slot, DWORD size)
{
    DWORD done;

    check(ReadFile(slot, message, size, &done, NULL) && done == size, "ReadFile");
}

static void put_stamped(HANDLE slot, DWORD size)
{
    double t = now_us();

    memcpy(message, &t, sizeof t);
    put(slot, size);
}

static double get_stamped(HANDLE slot, DWORD size)
{
    double t;

    get(slot, size);
    memcpy(&t, message, sizeof t);
    return now_us() - t;
}

static void writes(DWORD size, size_t count)
{
    struct samples each = samples_for(count);
    HANDLE out = server(THERE), in = client(THERE);

    for (size_t i = 0; i < count + WARM_UP; i++) {
        double t = now_us();

        put(in, size);
        if (i >= WARM_UP)
            add(&each, now_us() - t);
        get(out, size);
    }
    print_stats("write", &each);
}

static HANDLE ready(void)
{
    HANDLE event = CreateEventA(NULL, FALSE, FALSE, "msfs-bench-ready");

    check(event != NULL, "CreateEvent");
    return event;
}

static struct receipt *shared_receipt(void)
{
    HANDLE file = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0,
                                     sizeof(struct receipt), "msfs-bench-receipt");
    struct receipt *receipt;

    check(file != NULL, "CreateFileMapping");
    receipt = MapViewOfFile(file, FILE_MAP_ALL_ACCESS, 0, 0, sizeof *receipt);
    check(receipt != NULL, "MapViewOfFile");
    return receipt;
}

/* Start this program again as the other process, and wait until it has its slot. */
static HANDLE other_process(const char *role, DWORD size, size_t count)
{
    char self[MAX_PATH], command[MAX_PATH + 64];
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION other;
    HANDLE its_slot = ready();

    GetModuleFileNameA(NULL, self, sizeof self);
    snprintf(command, sizeof command, "\"%s\" %s %lu %lu", self, role, size, (unsigned long)count);
    check(CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &other),
          "CreateProcess");
    check(WaitForSingleObject(its_slot, 20000) == WAIT_OBJECT_0, "the other process");
    return other.hProcess;
}

static void print_both(struct samples *message_us, struct samples *latency)
{
    print_stats("message", message_us);
    printf(", ");
    print_stats("latency", latency);
}

static void acknowledge(DWORD size, size_t count)
{
    struct receipt *receipt = shared_receipt();
    HANDLE out = server(THERE);

    SetEvent(ready());
    for (size_t i = 1; i <= count + WARM_UP; i++) {
        receipt->late = get_stamped(out, size);
        atomic_store(&receipt->received, i);
    }
}

static void pair(DWORD size, size_t count)
{
    struct samples each = samples_for(count), latency = samples_for(count);
    struct receipt *receipt = shared_receipt();
    HANDLE other = other_process("acknowledge", size, count), in = client(THERE);

    for (size_t i = 1; i <= count + WARM_UP; i++) {
        double t = now_us();

        put_stamped(in, size);
        while (atomic_load(&receipt->received) != i)
            SwitchToThread();
        if (i > WARM_UP) {
            add(&each, now_us() - t);
            add(&latency, receipt->late);
        }
    }
    WaitForSingleObject(other, 5000);
    print_both(&each, &latency);
}

static void answer(DWORD size, size_t count)
{
    HANDLE out = server(THERE), in = client(BACK);

    SetEvent(ready());
    for (size_t i = 0; i < count + WARM_UP; i++) {
        get_stamped(out, size);
        put_stamped(in, size);
    }
}

static void pingpong(DWORD size, size_t count)
{
    struct samples halves = samples_for(count), latency = samples_for(count);
    HANDLE out = server(BACK), other = other_process("answer", size, count), in = client(THERE);

    for (size_t i = 0; i < count + WARM_UP; i++) {
        double t = now_us(), late;

        put_stamped(in, size);
        late = get_stamped(out, size);
        if (i >= WARM_UP) {
            add(&halves, (now_us() - t) / 2);
            add(&latency, late);
        }
    }
    WaitForSingleObject(other, 5000);
    print_both(&halves, &latency);
}

int main(int argc, char **argv)
{
    DWORD size = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    size_t count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;

    if (size < sizeof(double) || size > LARGEST || count == 0)
        return 2;
    if (!strcmp(argv[1], "answer") || !strcmp(argv[1], "acknowledge")) {
        (argv[1][1] == 'n' ? answer : acknowledge)(size, count);
        return 0;
    }
    printf("{");
    if (!strcmp(argv[1], "write"))
        writes(size, count);
    else if (!strcmp(argv[1], "pair"))
        pair(size, count);
    else if (!strcmp(argv[1], "pingpong"))
        pingpong(size, count);
    printf("}\n");
    return 0;
}
