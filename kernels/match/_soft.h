/* The smoothed dual's pass over the jobs, one slot; reference.py's soften, step for step. */
#ifndef GRIDLOOM_MATCH_SOFT_H
#define GRIDLOOM_MATCH_SOFT_H

#include "_slot.h"

typedef struct {
    long sites, wide;  /* the same as a multiple of four */
    int kinds, sides;
    const double *alone, *amount, *table, *reject;  /* [n, wide]; [n, k]; [d, k, wide]; [n] */
    const int *span;         /* [n, M] run length, the same at all sites */
    const long long *drawn;  /* [n, M, sides] use where that is not the demand */
    const int *side;         /* [k] column of `drawn`, or -1 */
    double tau, small;       /* the width, in least prices of a job that are taken to be no smaller */
    double faint;
    long thin;
    double *price, *share;   /* [wide] of one job */
    double *own, *expected;  /* [k, wide] its use there, and times its share if that is not faint */
    int *drawing;            /* [wide] sites of no faint share */
    double *use, *growth;    /* [k, wide]; [k, k, wide] curvature between a site's own prices, */
    double *curvature;       /* and [k wide, k wide] between any; below the diagonal anything */
} gl_soft;

/* Prices of a job at all sites; the least of them and of rejection. */
static inline double gl_price(const gl_soft *s, long job)
{
    const double *table = s->table + s->span[job * s->sites] * s->kinds * s->wide;
    gl_four low = GL_ALL(s->reject[job]);
    for (long site = 0; site < s->wide; site += 4) {
        const gl_four price = gl_price_four(
            s->alone + job * s->wide, s->amount + job * s->kinds, table, s->wide, s->kinds, site);
        GL_FOUR(s->price + site) = price;
        low = GL_WHERE(price < low, price, low);
    }
    const double one = low[1] < low[0] ? low[1] : low[0], other = low[3] < low[2] ? low[3] : low[2];
    return other < one ? other : one;
}

/* Sites within reach of the least price; `last` the one of them, where there is but one. */
static inline long gl_near(const gl_soft *s, double low, double inverse, long *last)
{
    gl_mask near = {0, 0, 0, 0}, which = {0, 0, 0, 0}, here = {0, 1, 2, 3};
    for (long site = 0; site < s->wide; site += 4, here += 4) {
        const gl_mask within = (GL_FOUR(s->price + site) - low) * inverse < 10.0;
        near -= within;
        which += within & here;
    }
    *last = which[0] + which[1] + which[2] + which[3];
    return near[0] + near[1] + near[2] + near[3];
}

/* exp(-x), and 0 from 10 on. */
static inline gl_four gl_decay(gl_four x)
{
    const gl_four y = x * (1.0 / 256.0);
    gl_four power = 1.0 - y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0))));
    power *= power; power *= power; power *= power; power *= power;
    power *= power; power *= power; power *= power; power *= power;
    return GL_WHERE(x < 10.0, power, (gl_four){0});
}

/* Shares of the sites, each by its price. */
static inline void gl_divide(const gl_soft *s, double low, double inverse, double rejected)
{
    gl_four whole = {0, 0, 0, 0};
    for (long site = 0; site < s->wide; site += 4) {
        const gl_four weight = gl_decay((GL_FOUR(s->price + site) - low) * inverse);
        GL_FOUR(s->share + site) = weight;
        whole += weight;
    }
    double sum = (whole[0] + whole[1]) + (whole[2] + whole[3]);
    if (rejected < 10.0) sum += gl_decay(GL_ALL(rejected))[0];
    const double part = 1.0 / sum;
    for (long site = 0; site < s->wide; site += 4) GL_FOUR(s->share + site) *= part;
}

static inline double gl_need(const gl_soft *s, long job, long site, int k)
{
    return s->side[k] < 0
        ? s->amount[job * s->kinds + k]
        : (double)s->drawn[(job * s->sites + site) * s->sides + s->side[k]];
}

/* A job's own use at each site, and times its shares. */
static inline void gl_draw(const gl_soft *s, long job)
{
    for (int k = 0; k < s->kinds; k++) {
        double *use = s->use + k * s->wide, *own = s->own + k * s->wide;
        const double need = s->amount[job * s->kinds + k];
        for (long site = 0; site < s->wide; site += 4) GL_FOUR(own + site) = GL_ALL(need);
        if (need == 0.0) continue;
        if (s->side[k] >= 0)
            for (long site = 0; site < s->sites; site++) own[site] = gl_need(s, job, site, k);
        for (long site = 0; site < s->wide; site += 4)
            GL_FOUR(use + site) += GL_FOUR(s->share + site) * GL_FOUR(own + site);
    }
}

/* What a small change of prices would change in one job's use: more at the sites that become
 * cheaper, and less at all by as much. The first is of a site's own prices. */
static inline void gl_curve(const gl_soft *s, long job, double narrow)
{
    const long wide = s->wide, count = s->kinds * wide;
    const double *own = s->own;
    int sites = 0;
    for (long site = 0; site < s->sites; site++) {
        s->drawing[sites] = (int)site;
        sites += s->share[site] > s->faint;
    }
    const int dense = 4 * sites > wide;  /* whole rows are then the faster way */
    for (long site = 0; site < wide; site += 4) {
        const gl_four share = GL_FOUR(s->share + site);
        GL_FOUR(s->share + site) = GL_WHERE(share > s->faint, share, (gl_four){0});
    }
    for (int k = 0; k < s->kinds; k++)
        for (long site = 0; site < wide; site += 4)
            GL_FOUR(s->expected + k * wide + site) = GL_FOUR(s->share + site) * GL_FOUR(own + k * wide + site);
    for (int k = 0; k < s->kinds; k++) {
        if (s->amount[job * s->kinds + k] == 0.0) continue;
        for (int o = k; o < s->kinds; o++) {
            double *grow = s->growth + (k * s->kinds + o) * wide;
            if (dense)
                for (long site = 0; site < wide; site += 4)
                    GL_FOUR(grow + site) += GL_FOUR(s->share + site) * narrow
                        * GL_FOUR(own + k * wide + site) * GL_FOUR(own + o * wide + site);
            else
                for (int d = 0; d < sites; d++) {
                    const int site = s->drawing[d];
                    grow[site] += s->share[site] * narrow * own[k * wide + site] * own[o * wide + site];
                }
        }
        for (int d = 0; d < sites; d++) {
            const long at = k * wide + s->drawing[d];
            double *row = s->curvature + at * count;
            const double change = s->expected[at] * narrow;
            if (dense)
                for (long other = at & ~3; other < count; other += 4)
                    GL_FOUR(row + other) -= change * GL_FOUR(s->expected + other);
            else
                for (int o = k; o < s->kinds; o++)
                    for (int f = o == k ? d : 0; f < sites; f++)
                        row[o * wide + s->drawing[f]] -= change * s->expected[o * wide + s->drawing[f]];
        }
    }
}

GL_WIDEST
static void gl_soften(const gl_soft *given, const long long *rows, long many, double *least)
{
    const gl_soft here = *given, *s = &here;  /* so that no store can change it */
    for (long row = 0; row < many; row++) {
        const long job = rows[row];
        const double low = gl_price(s, job), width = s->tau * (low > s->small ? low : s->small);
        const double inverse = 1.0 / width, rejected = (s->reject[job] - low) * inverse;
        long site;
        least[row] = low;
        const long near = gl_near(s, low, inverse, &site) + (rejected < 10.0);
        if (near == 1) {  /* nothing that a small change would change */
            if (!(rejected < 10.0))
                for (int k = 0; k < s->kinds; k++)
                    s->use[k * s->wide + site] += gl_need(s, job, site, k);
            continue;
        }
        gl_divide(s, low, inverse, rejected);
        gl_draw(s, job);
        if (row % s->thin == 0) gl_curve(s, job, (double)s->thin / width);
    }
}

/* row -= factor * above, elementwise. */
GL_WIDEST
static void gl_eliminate(double *row, const double *above, double factor, long count)
{
    for (long at = 0; at < count; at++) row[at] -= factor * above[at];
}

#endif
