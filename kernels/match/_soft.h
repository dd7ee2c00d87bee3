/* The smoothed dual's pass over the jobs, one slot; reference.py's soften, step for step.
 *
 * Answers of a job, padded to a multiple of four: the sites, rejection, and what nobody would pay.
 *
 *     alone   [n, wide]     price of an answer at no prices, inf where there is none
 *     table   [d, k, wide]  price of one unit of demand there, 0 behind the sites
 *
 * Elementwise but for sums in four lanes, so that any width of vector gives the same bits.
 */
#ifndef GRIDLOOM_MATCH_SOFT_H
#define GRIDLOOM_MATCH_SOFT_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define GL_WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define GL_WIDEST
#endif

/* Four at a time: one register where the machine has it, two where it has not. */
typedef double gl_four __attribute__((vector_size(32), aligned(8), may_alias));
typedef long long gl_mask __attribute__((vector_size(32)));
#define GL_FOUR(at) (*(gl_four *)(at))
#define GL_WHERE(is, a, b) ((gl_four)(((gl_mask)(a) & (is)) | ((gl_mask)(b) & ~(is))))

typedef struct {
    long sites, wide;  /* answers are `sites` + 1 of `wide` */
    int kinds, sides;
    const double *alone, *amount, *table;
    const int *span;                  /* [n, M] run length, the same at all sites */
    const long long *demand, *drawn;  /* [n, k]; [n, M, sides] */
    const int *side;                  /* [k] column of `drawn`, or -1 */
    const long long *column;          /* [M, k] index of a price, or -1 */
    const double *unit;               /* [k] one unit of demand in what use is counted in */
    double inverse, narrow, faint;    /* 1 / tau, thin / tau */
    long thin, count, padded;         /* prices, and that as a multiple of four */
    double *price, *weight;           /* [wide] of one job */
    double *own, *expected;           /* [M k] use there, and times its share */
    int *at, *of_site;                /* [M k] */
    double *dense;                    /* [padded] zeros; expected by column */
    double *use, *curvature;          /* [count]; [count, padded], below the diagonal anything */
} gl_soft;

/* Prices of all answers of a job; the least one. */
static inline double gl_price(const gl_soft *s, long job)
{
    const double *base = s->alone + job * s->wide, *amount = s->amount + job * s->kinds;
    const double *table = s->table + s->span[job * s->sites] * s->kinds * s->wide;
    gl_four low = base[s->sites] + (gl_four){0, 0, 0, 0};
    for (long o = 0; o < s->wide; o += 4) {
        gl_four sum = GL_FOUR(base + o);
        for (int k = 0; k < s->kinds; k++) sum += amount[k] * GL_FOUR(table + k * s->wide + o);
        GL_FOUR(s->price + o) = sum;
        low = GL_WHERE(sum < low, sum, low);
    }
    const double one = low[1] < low[0] ? low[1] : low[0], other = low[3] < low[2] ? low[3] : low[2];
    return other < one ? other : one;
}

/* Answers within reach of the least one; `last` the one of them, where there is but one. */
static inline long gl_near(const gl_soft *s, double low, long *last)
{
    gl_mask near = {0, 0, 0, 0}, which = {0, 0, 0, 0}, here = {0, 1, 2, 3};
    for (long o = 0; o < s->wide; o += 4, here += 4) {
        const gl_mask within = (GL_FOUR(s->price + o) - low) * s->inverse < 10.0;
        near -= within;
        which += within & here;
    }
    *last = which[0] + which[1] + which[2] + which[3];
    return near[0] + near[1] + near[2] + near[3];
}

/* weight = decay((price - low) / tau); their sum, lane by lane. */
static inline double gl_decay(const gl_soft *s, double low)
{
    gl_four whole = {0, 0, 0, 0};
    for (long o = 0; o < s->wide; o += 4) {
        const gl_four x = (GL_FOUR(s->price + o) - low) * s->inverse, y = x * (1.0 / 256.0);
        gl_four power = 1.0 - y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0))));
        power *= power; power *= power; power *= power; power *= power;
        power *= power; power *= power; power *= power; power *= power;
        power = GL_WHERE(x < 10.0, power, (gl_four){0});
        GL_FOUR(s->weight + o) = power;
        whole += power;
    }
    return (whole[0] + whole[1]) + (whole[2] + whole[3]);
}

/* Add a job's expected use at a site; columns of no faint share are listed from `drawn` on. */
static inline int gl_draw(const gl_soft *s, long job, long site, double share, int drawn)
{
    for (int k = 0; k < s->kinds; k++) {
        const long long column = s->column[site * s->kinds + k];
        if (column < 0) continue;
        const long long need = s->side[k] < 0
            ? s->demand[job * s->kinds + k]
            : s->drawn[(job * s->sites + site) * s->sides + s->side[k]];
        const double own = (double)need * s->unit[k], expected = share * own;
        s->use[column] += expected;
        if (need > 0 && share > s->faint) {
            s->at[drawn] = (int)column;
            s->of_site[drawn] = (int)site;
            s->own[drawn] = own;
            s->expected[drawn++] = expected;
        }
    }
    return drawn;
}

/* What a small change of prices would change in one job's use. */
static inline void gl_curve(const gl_soft *s, int drawn)
{
    const int dense = 4 * drawn > s->count;  /* a whole row in one go is then the faster way */
    if (dense)
        for (int e = 0; e < drawn; e++) s->dense[s->at[e]] = s->expected[e];
    for (int e = 0; e < drawn; e++) {
        double *row = s->curvature + s->at[e] * s->padded;
        const double change = s->expected[e] * s->narrow, grow = s->own[e] * s->narrow;
        if (dense)
            for (long o = s->at[e] & ~3; o < s->padded; o += 4)
                GL_FOUR(row + o) -= change * GL_FOUR(s->dense + o);
        else
            for (int f = e; f < drawn; f++) row[s->at[f]] -= change * s->expected[f];
        for (int f = e; f < drawn && s->of_site[f] == s->of_site[e]; f++)
            row[s->at[f]] += grow * s->expected[f];
    }
    if (dense)
        for (int e = 0; e < drawn; e++) s->dense[s->at[e]] = 0.0;
}

GL_WIDEST
static void gl_soften(const gl_soft *given, const long long *rows, long many, double *least)
{
    const gl_soft here = *given, *s = &here;  /* so that no store can change it */
    for (long row = 0; row < many; row++) {
        const long job = rows[row];
        const double low = gl_price(s, job);
        long site;
        least[row] = low;
        if (gl_near(s, low, &site) == 1) {  /* nothing that a small change would change */
            if (site < s->sites) gl_draw(s, job, site, 1.0, 0);
            continue;
        }
        const double whole = gl_decay(s, low);
        int drawn = 0;
        for (site = 0; site < s->sites; site++)
            if (s->weight[site] != 0.0) drawn = gl_draw(s, job, site, s->weight[site] / whole, drawn);
        if (row % s->thin == 0) gl_curve(s, drawn);
    }
}

/* row -= factor * above, elementwise. */
GL_WIDEST
static void gl_eliminate(double *row, const double *above, double factor, long count)
{
    for (long at = 0; at < count; at++) row[at] -= factor * above[at];
}

#endif
