/* The same clock and the same percentiles for every client: one line of JSON, in microseconds. */
#ifndef STATS_H
#define STATS_H

#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
static inline double now_us(void)
{
    static double per_us;
    LARGE_INTEGER t;

    if (per_us == 0) {
        QueryPerformanceFrequency(&t);
        per_us = (double)t.QuadPart / 1e6;
    }
    QueryPerformanceCounter(&t);
    return (double)t.QuadPart / per_us;
}
#else
#include <time.h>
static inline double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}
#endif

/* What the reader of a pair tells its writer, in memory that both share. */
struct receipt {
    _Atomic size_t received;
    double late;
};

struct samples {
    double *us;
    size_t n, room;
};

static inline struct samples samples_for(size_t room)
{
    struct samples s = {malloc((room ? room : 1) * sizeof(double)), 0, room};

    if (!s.us) {
        perror("malloc");
        exit(1);
    }
    return s;
}

static inline void add(struct samples *s, double us)
{
    if (s->n < s->room)
        s->us[s->n++] = us;
}

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline void print_stats(const char *key, struct samples *s)
{
    double sum = 0;

    qsort(s->us, s->n, sizeof(double), by_value);
    for (size_t i = 0; i < s->n; i++)
        sum += s->us[i];
    if (s->n == 0)
        printf("\"%s\": null", key);
    else
        printf("\"%s\": {\"n\": %lu, \"min\": %.3f, \"median\": %.3f, \"p99\": %.3f, \"mean\": %.3f}",
               key, (unsigned long)s->n, s->us[0], s->us[s->n / 2],
               s->us[(size_t)((double)(s->n - 1) * 0.99)], sum / (double)s->n);
}

#endif
