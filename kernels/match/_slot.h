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

/* The first site of the least price, or -1 where all are infinite; that price and the next. */
GL_WIDEST
static long gl_best_two(
    const double *alone, const double *amount, const double *table, long wide, int kinds,
    double *least, double *second)
{
    const double infinite = __builtin_inf();
    gl_four low = GL_ALL(infinite), next = low;
    gl_mask which = {-1, -1, -1, -1}, here = {0, 1, 2, 3};
    for (long site = 0; site < wide; site += 4, here += 4) {
        const gl_four price = gl_price_four(alone, amount, table, wide, kinds, site);
        const gl_mask lower = price < low, between = price < next;
        next = GL_WHERE(lower, low, GL_WHERE(between, price, next));
        low = GL_WHERE(lower, price, low);
        which = (here & lower) | (which & ~lower);
    }
    double best = low[0], then = next[0];
    long at = which[0];
    for (int lane = 1; lane < 4; lane++) {
        const double price = low[lane];
        if (price < best || (price == best && which[lane] < at)) {
            then = best < next[lane] ? best : next[lane];
            best = price;
            at = which[lane];
        } else if (price < then) {
            then = price;
        }
    }
    *least = best;
    *second = then;
    return best < infinite ? at : -1;
}

#endif
