/* Prices of one job's options, and what its open starts are. */
#ifndef GRIDLOOM_MATCH_PRICE_H
#define GRIDLOOM_MATCH_PRICE_H

#include <string.h>

#include "_four.h"

/* Options of one job; elementwise, so that any width of vector gives the same bits. */
GL_WIDEST
static void gl_price_options(
    double *priced, const double *base, const double *amount, const double *table,
    long step, int kinds, long count)
{
    for (long o = 0; o < count; o++) priced[o] = base[o];
    for (int k = 0; k < kinds; k++) {
        const double a = amount[k], *rate = table + k * step;
        if (a != 0.0)  /* adding 0 changes no bit */
            for (long o = 0; o < count; o++) priced[o] += a * rate[o];
    }
}

/* First open start and one past the last; 1 where some between are closed. */
static int gl_range(const unsigned char *open, long count, int *first, int *last)
{
    const unsigned char *at = memchr(open, 1, count), *end;
    *first = *last = 0;
    if (!at) return 0;
    for (end = open + count; !end[-1]; end--) {}
    *first = at - open;
    *last = end - open;
    return memchr(at, 0, end - at) != 0;
}

/* Starts of one job at one site; one or two resources that cost are the rule. */
GL_WIDEST
static void gl_price_starts(
    double *priced, double fixed, const double *amount, const double *table,
    long step, int kinds, long count)
{
    int asked[8], many = 0;
    for (int k = 0; k < kinds; k++)
        if (amount[k] != 0.0) asked[many++] = k;  /* adding 0 changes no bit */
    if (many == 2) {
        const double a = amount[asked[0]], b = amount[asked[1]];
        const double *one = table + asked[0] * step, *two = table + asked[1] * step;
        for (long o = 0; o < count; o++) priced[o] = (fixed + a * one[o]) + b * two[o];
        return;
    }
    for (long o = 0; o < count; o++) priced[o] = fixed;
    for (int k = 0; k < many; k++) {
        const double a = amount[asked[k]], *rate = table + asked[k] * step;
        for (long o = 0; o < count; o++) priced[o] += a * rate[o];
    }
}

/* One slot: use [sites, kinds] if every job came wherever it may. */
static void gl_wanted(
    const unsigned char *open, const long long *demand, const long long *drawn, const int *side,
    long sides, long sites, int kinds, long count, long long *restrict wanted)
{
    for (long i = 0; i < count; i++, demand += kinds)
        for (long o = 0; o < sites; o++, drawn += sides) {
            const long long may = -(long long)*open++;
            for (int k = 0; k < kinds; k++)
                wanted[o * kinds + k] += may & (side[k] < 0 ? demand[k] : drawn[side[k]]);
        }
}

/* The first of the least, and -1 where all are infinite; four lanes, whose order is no matter. */
static long gl_first_least(const double *price, long count, double *least)
{
    const double infinite = __builtin_inf();
    double lane[4] = {infinite, infinite, infinite, infinite}, low;
    long at = 0;
    for (; at + 4 <= count; at += 4)
        for (int j = 0; j < 4; j++) lane[j] = price[at + j] < lane[j] ? price[at + j] : lane[j];
    low = lane[0] < lane[1] ? lane[0] : lane[1];
    low = lane[2] < low ? lane[2] : low;
    low = lane[3] < low ? lane[3] : low;
    for (; at < count; at++) low = price[at] < low ? price[at] : low;
    *least = low;
    if (low == infinite) return -1;
    for (at = 0; price[at] != low; at++) {}
    return at;
}

#endif
