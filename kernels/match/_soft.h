/* The smoothed dual's pass over the jobs, one slot; reference.py's soften, step for step. */
#ifndef GRIDLOOM_MATCH_SOFT_H
#define GRIDLOOM_MATCH_SOFT_H

#include "_slot.h"

#define GL_BLOCK 32  /* jobs whose prices stay in the first cache */

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
    double *price, *share;   /* [GL_BLOCK, wide]; [wide] of one job */
    double *own, *expected;  /* [k, wide] its use there, and times its share if that is not faint */
    int *drawing;            /* [wide] sites of no faint share */
    double *sure, *use;      /* [k, wide] of jobs with one answer, and of those with several */
    double *growth;          /* [k, k, wide] curvature between a site's own prices, */
    double *curvature;       /* and [k wide, k wide] between any; below the diagonal anything */
} gl_soft;

/* Prices of a job at all sites; the least of them and of rejection. */
GL_INSIDE double gl_price(const gl_soft *s, long wide, int kinds, long job, double *priced)
{
    const double *table = s->table + s->span[job * s->sites] * kinds * wide;
    gl_four low = GL_ALL(s->reject[job]);
    for (long site = 0; site < wide; site += 4) {
        const gl_four price = gl_price_four(
            s->alone + job * wide, s->amount + job * kinds, table, wide, kinds, site);
        GL_FOUR(priced + site) = price;
        low = GL_WHERE(price < low, price, low);
    }
    const double one = low[1] < low[0] ? low[1] : low[0], other = low[3] < low[2] ? low[3] : low[2];
    return other < one ? other : one;
}

/* Sites within reach of the least price; `last` the one of them, where there is but one. */
GL_INSIDE long gl_near(long wide, const double *price, double low, double inverse, long *last)
{
    gl_mask near = {0, 0, 0, 0}, which = {0, 0, 0, 0}, here = {0, 1, 2, 3};
    for (long site = 0; site < wide; site += 4, here += 4) {
        const gl_mask within = (GL_FOUR(price + site) - low) * inverse < 10.0;
        near -= within;
        which += within & here;
    }
    *last = which[0] + which[1] + which[2] + which[3];
    return near[0] + near[1] + near[2] + near[3];
}

/* exp(-x), and 0 from 10 on. */
GL_INSIDE gl_four gl_decay(gl_four x)
{
    const gl_four y = x * (1.0 / 256.0);
    gl_four power = 1.0 - y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0))));
    power *= power; power *= power; power *= power; power *= power;
    power *= power; power *= power; power *= power; power *= power;
    return GL_WHERE(x < 10.0, power, (gl_four){0});
}

/* Shares of the sites, each by its price. */
GL_INSIDE void gl_divide(
    const gl_soft *s, long wide, const double *price, double low, double inverse, double rejected)
{
    gl_four whole = {0, 0, 0, 0};
    for (long site = 0; site < wide; site += 4) {
        const gl_four weight = gl_decay((GL_FOUR(price + site) - low) * inverse);
        GL_FOUR(s->share + site) = weight;
        whole += weight;
    }
    double sum = (whole[0] + whole[1]) + (whole[2] + whole[3]);
    if (rejected < 10.0) sum += gl_decay(GL_ALL(rejected))[0];
    const double part = 1.0 / sum;
    for (long site = 0; site < wide; site += 4) GL_FOUR(s->share + site) *= part;
}

GL_INSIDE double gl_need(const gl_soft *s, int kinds, long job, long site, int k)
{
    return s->side[k] < 0
        ? s->amount[job * kinds + k]
        : (double)s->drawn[(job * s->sites + site) * s->sides + s->side[k]];
}

/* A job's own use at each site, and times its shares. */
GL_INSIDE void gl_draw(const gl_soft *s, long wide, int kinds, long job)
{
    for (int k = 0; k < kinds; k++) {
        double *use = s->use + k * wide, *own = s->own + k * wide;
        const double need = s->amount[job * kinds + k];
        for (long site = 0; site < wide; site += 4) GL_FOUR(own + site) = GL_ALL(need);
        if (need == 0.0) continue;
        if (s->side[k] >= 0)
            for (long site = 0; site < s->sites; site++) own[site] = gl_need(s, kinds, job, site, k);
        for (long site = 0; site < wide; site += 4)
            GL_FOUR(use + site) += GL_FOUR(s->share + site) * GL_FOUR(own + site);
    }
}

/* What a small change of prices would change in one job's use: more at the sites that become
 * cheaper, and less at all by as much. The first is of a site's own prices. */
GL_INSIDE void gl_curve(const gl_soft *s, long wide, int kinds, long job, double narrow)
{
    const long count = kinds * wide;
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
    for (int k = 0; k < kinds; k++)
        for (long site = 0; site < wide; site += 4)
            GL_FOUR(s->expected + k * wide + site) = GL_FOUR(s->share + site) * GL_FOUR(own + k * wide + site);
    for (int k = 0; k < kinds; k++) {
        if (s->amount[job * kinds + k] == 0.0) continue;
        for (int o = k; o < kinds; o++) {
            double *grow = s->growth + (k * kinds + o) * wide;
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
                for (int o = k; o < kinds; o++)
                    for (int f = o == k ? d : 0; f < sites; f++)
                        row[o * wide + s->drawing[f]] -= change * s->expected[o * wide + s->drawing[f]];
        }
    }
}

/* By blocks: prices of all, then those with one answer, then the others; each without a guess. */
GL_INSIDE void gl_soften_of(
    const gl_soft *s, long wide, int kinds, const long long *rows, long many, double *least)
{
    double inverse[GL_BLOCK], rejected[GL_BLOCK];
    long one[GL_BLOCK], several[GL_BLOCK], site[GL_BLOCK];
    for (long first = 0; first < many; first += GL_BLOCK) {
        const long size = many - first < GL_BLOCK ? many - first : GL_BLOCK;
        long ones = 0, severals = 0;
        for (long i = 0; i < size; i++) {
            const long job = rows[first + i];
            double *price = s->price + i * wide;
            const double low = gl_price(s, wide, kinds, job, price);
            inverse[i] = 1.0 / (s->tau * (low > s->small ? low : s->small));
            rejected[i] = (s->reject[job] - low) * inverse[i];
            least[first + i] = low;
            const long near = gl_near(wide, price, low, inverse[i], &site[i]);
            one[ones] = several[severals] = i;
            ones += (near == 1) & !(rejected[i] < 10.0);
            severals += near + (rejected[i] < 10.0) > 1;
        }
        for (long at = 0; at < ones; at++)  /* nothing that a small change would change */
            for (int k = 0; k < kinds; k++)
                s->sure[k * wide + site[one[at]]] +=
                    gl_need(s, kinds, rows[first + one[at]], site[one[at]], k);
        for (long at = 0; at < severals; at++) {
            const long i = several[at], job = rows[first + i];
            gl_divide(s, wide, s->price + i * wide, least[first + i], inverse[i], rejected[i]);
            gl_draw(s, wide, kinds, job);
            if ((first + i) % s->thin == 0) gl_curve(s, wide, kinds, job, (double)s->thin * inverse[i]);
        }
    }
}

/* Loops of a known length are an eighth faster: eight hubs, three resources that can be short. */
GL_WIDEST
static void gl_soften(const gl_soft *given, const long long *rows, long many, double *least)
{
    const gl_soft here = *given, *s = &here;  /* so that no store can change it */
    if (s->wide == 8 && s->kinds == 3)
        gl_soften_of(s, 8, 3, rows, many, least);
    else
        gl_soften_of(s, s->wide, s->kinds, rows, many, least);
}

/* row -= factor * above, elementwise. */
GL_WIDEST
static void gl_eliminate(double *row, const double *above, double factor, long count)
{
    for (long at = 0; at < count; at++) row[at] -= factor * above[at];
}

#endif
