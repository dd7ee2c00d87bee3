/* One slot: what a job pays at each site, four sites at a time.
 *
 *     alone   [n, wide]     price of a site at no prices, inf where it may not run and from `sites` on
 *     table   [d, k, wide]  price of one unit of demand there, 0 behind the sites
 */
#ifndef GRIDLOOM_MATCH_SLOT_H
#define GRIDLOOM_MATCH_SLOT_H

#include "_four.h"

/* Prices of four sites from `site` on. */
static inline gl_four gl_price_four(
    const double *alone, const double *amount, const double *table, long wide, int kinds, long site)
{
    gl_four sum = GL_FOUR(alone + site);
    for (int k = 0; k < kinds; k++) sum += amount[k] * GL_FOUR(table + k * wide + site);
    return sum;
}

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
GL_WIDEST
static long gl_best_two(
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

#endif
