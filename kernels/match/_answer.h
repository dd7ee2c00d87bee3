/* One slot: the cheapest site of a job at the prices, or rejection; and the next cheapest. */
#ifndef GRIDLOOM_MATCH_ANSWER_H
#define GRIDLOOM_MATCH_ANSWER_H

#include "_slot.h"

/* The better of two answers in every lane: least price, the next, and the first site of the least. */
static inline void gl_best(
    gl_four *low, gl_four *next, gl_four *which, gl_four price, gl_four then, gl_four site)
{
    const gl_mask lower = (price < *low) | ((price == *low) & (site < *which));
    const gl_four higher = GL_WHERE(lower, *low, price);
    *next = GL_WHERE(then < *next, then, *next);
    *next = GL_WHERE(higher < *next, higher, *next);
    *low = GL_WHERE(lower, price, *low);
    *which = GL_WHERE(lower, site, *which);
}

/* The first site of the least price, or -1 where all are infinite; that price and the next. */
GL_INSIDE long gl_best_two(
    const double *alone, const double *amount, const double *table, long wide, int kinds,
    double *least, double *second)
{
    const double infinite = __builtin_inf();
    gl_four low = GL_ALL(infinite), next = low, which = GL_ALL(0.0), here = {0.0, 1.0, 2.0, 3.0};
    for (long site = 0; site < wide; site += 4, here += 4.0) {
        const gl_four price = gl_price_four(alone, amount, table, wide, kinds, site);
        gl_best(&low, &next, &which, price, GL_ALL(infinite), here);
    }
    /* the two halves, then the two lanes of what is left; equal prices are of the first site */
    gl_best(&low, &next, &which, GL_LANES(low, 2, 3), GL_LANES(next, 2, 3), GL_LANES(which, 2, 3));
    gl_best(&low, &next, &which, GL_LANES(low, 1, 0), GL_LANES(next, 1, 0), GL_LANES(which, 1, 0));
    *least = low[0];
    *second = next[0];
    return low[0] < infinite ? (long)which[0] : -1;
}

typedef struct {
    long sites, wide;
    int kinds;
    const double *alone, *amount, *table, *reject;  /* [n, wide]; [n, k]; [d, k, wide]; [n] */
    const int *span;                                /* [n, M] run length, the same at all sites */
    double *least, *second;                         /* [n] of the sites and of rejection */
    int *option;                                    /* [n] -1 = rejected */
} gl_answers;

GL_INSIDE void gl_answer_of(const gl_answers *a, long wide, int kinds, long begin, long past)
{
    for (long job = begin; job < past; job++) {
        const double *table = a->table + a->span[job * a->sites] * kinds * wide;
        const double reject = a->reject[job];
        double best, next;
        const long at = gl_best_two(
            a->alone + job * wide, a->amount + job * kinds, table, wide, kinds, &best, &next);
        const int placed = best <= reject;
        a->least[job] = placed ? best : reject;
        a->second[job] = placed ? (reject < next ? reject : next) : best;
        a->option[job] = placed ? (int)at : -1;
    }
}

/* Answers of the jobs in [begin, past). Known lengths are faster: eight hubs, three resources. */
GL_WIDEST
static void gl_answer(const gl_answers *given, long begin, long past)
{
    const gl_answers here = *given, *a = &here;  /* so that no store can change it */
    if (a->wide == 8 && a->kinds == 3)
        gl_answer_of(a, 8, 3, begin, past);
    else
        gl_answer_of(a, a->wide, a->kinds, begin, past);
}

#endif
