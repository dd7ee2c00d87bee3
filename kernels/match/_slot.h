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

#endif
