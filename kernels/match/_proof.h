/* The certificate's pass over the jobs, one slot; certificate.py's bits.
 *
 * Tables [.., wide] are of the sites, up to a multiple of four, behind them of sites that take nobody.
 */
#ifndef GRIDLOOM_MATCH_PROOF_H
#define GRIDLOOM_MATCH_PROOF_H

#include "_four.h"

enum { GL_KINDS = 5, GL_POWER = 2, GL_GREEN = 4, GL_PPM = 1000000 };

typedef struct {
    long sites, wide;
    double per_ms;                   /* of round trip */
    long long slot_ms;
    const long long *hub;            /* [M] */
    const long long *takes;          /* [class, wide] -1 = up and takes it, 0 */
    const long long *rate, *pue_ppm; /* [class x precision, wide]; [wide] */
    const double *watt, *price;      /* [wide] energy of a watt in the slot; [K, wide] */
    const long long *room;           /* [K, wide] */
    /* of one job, [wide] */
    double *rtt, *moving, *late, *cost, *priced, *size, *need;
    long long *drawn;                /* use on the facility side */
    long long *allowed, *fits;       /* -1 = by its filters; in time and room too */
} gl_proof;

typedef struct {
    const long long *demand;         /* [K] */
    long long work, release, deadline, pair, of_class, own, held, data_site, current_site;
    double most_rtt, data_gb, migration;
    const double *per_gb, *rtt;      /* [H] from where its data are, from its origin; NULL = none */
} gl_row;

typedef struct { double least, size, chosen; int closed; } gl_proved;

/* How long the job runs, and what moving it costs. */
static inline void gl_weigh(const gl_proof *p, const gl_row *job)
{
    const long long *rates = p->rate + job->pair * p->wide;
    long long before = -1, runs = 0;
    for (long m = 0; m < p->sites; m++) {
        if (rates[m] != before) {  /* divisions are slow, and rates are often equal */
            const long long done = (before = rates[m]) * p->slot_ms;
            runs = done > 0 ? (job->work + done - 1) / done : 0;
        }
        p->late[m] = runs > 1 ? (double)(runs - 1) : 0.0;
        p->allowed[m] = -(long long)(runs > 0);
        p->fits[m] = -(long long)(
            (job->release <= 0) & ((job->deadline == -1) | (runs <= job->deadline)));
        p->moving[m] = 0.0;
    }
    if (job->per_gb)
        for (long m = 0; m < p->sites; m++) p->moving[m] = job->data_gb * job->per_gb[p->hub[m]];
    if (job->data_site >= 0) p->moving[job->data_site] = 0.0;
    if (job->current_site >= 0) {
        const double here = p->moving[job->current_site];
        for (long m = 0; m < p->sites; m++) p->moving[m] += job->migration;
        p->moving[job->current_site] = here;
    }
    if (job->rtt)
        for (long m = 0; m < p->sites; m++) p->rtt[m] = job->rtt[p->hub[m]];
    if (job->own != -1 || job->held != -1)
        for (long m = 0; m < p->sites; m++) {
            const long long hub = p->hub[m] < 63 ? p->hub[m] : 63;
            p->allowed[m] &= -(((job->own == -1) | (job->own == m)) & (job->held >> hub));
        }
}

/* Cost of every site, whether it is allowed, and in time. */
static inline void gl_cost(const gl_proof *p, const gl_row *job)
{
    const gl_four none = {0, 0, 0, 0};
    const double infinite = __builtin_inf(), watts = (double)job->demand[GL_POWER];
    const long long *takes = p->takes + job->of_class * p->wide;
    for (long m = 0; m < p->wide; m += 4) {
        const gl_four moving = GL_FOUR(p->moving + m), rtt = GL_FOUR(p->rtt + m);
        const gl_four watt = GL_FOUR(p->watt + m);
        gl_mask allowed = GL_WHOLE(p->allowed + m) & GL_WHOLE(takes + m);
        allowed &= (moving < infinite) & (moving > -infinite);
        if (job->rtt) allowed &= (rtt <= job->most_rtt) & (rtt < infinite) & (rtt > -infinite);
        gl_four paid = GL_WHERE(allowed, moving, none);
        if (job->rtt && p->per_ms != 0.0) paid += GL_WHERE(allowed, p->per_ms * rtt, none);
        const gl_four cost = paid + watts * (watt + GL_FOUR(p->late + m) * watt);
        GL_FOUR(p->cost + m) = GL_FOUR(p->priced + m) = cost;
        GL_FOUR(p->size + m) = GL_WHERE(cost < 0.0, -cost, cost);
        GL_WHOLE(p->allowed + m) = allowed;
        GL_WHOLE(p->fits + m) &= allowed;
    }
}

/* What the use of a resource is worth at the prices, and whether there is room for it. */
static inline void gl_use(const gl_proof *p, int k, long long asked)
{
    const int scaled = k == GL_POWER || k == GL_GREEN;
    for (long m = 0; m < p->sites && scaled; m++) {
        const unsigned long long ppm = (unsigned long long)asked * (unsigned long long)p->pue_ppm[m];
        p->drawn[m] = (long long)((ppm + (GL_PPM - 1)) / GL_PPM);
        p->need[m] = (double)p->drawn[m];
    }
    const gl_mask whole = {asked, asked, asked, asked};
    const gl_four number = GL_ALL((double)asked);
    for (long m = 0; m < p->wide; m += 4) {
        const gl_mask drawn = scaled ? (gl_mask)GL_WHOLE(p->drawn + m) : whole;
        const gl_four need = scaled ? GL_FOUR(p->need + m) : number;
        const gl_four worth = need * GL_FOUR(p->price + k * p->wide + m);
        GL_WHOLE(p->fits + m) &= drawn <= (gl_mask)GL_WHOLE(p->room + k * p->wide + m);
        GL_FOUR(p->priced + m) += worth;
        GL_FOUR(p->size + m) += worth;
    }
}

/* The cheapest option at the prices, the largest sum in it, and the cost of the job's own site. */
GL_WIDEST
static gl_proved gl_prove(const gl_proof *given, const gl_row *job, long own)
{
    const gl_proof here = *given, *p = &here;  /* so that no store can change it */
    gl_four low = GL_ALL(__builtin_inf()), high = {0, 0, 0, 0};
    gl_weigh(p, job);
    gl_cost(p, job);
    for (int k = 0; k < GL_KINDS; k++)
        if (job->demand[k]) gl_use(p, k, job->demand[k]);
    for (long m = 0; m < p->wide; m += 4) {
        const gl_four priced = GL_FOUR(p->priced + m), size = GL_FOUR(p->size + m);
        const gl_mask fits = GL_WHOLE(p->fits + m);
        low = GL_WHERE(fits & (priced < low), priced, low);
        high = GL_WHERE(fits & (size > high), size, high);
    }
    gl_proved found = {low[0], high[0], __builtin_inf(), 0};
    for (int lane = 1; lane < 4; lane++) {
        if (low[lane] < found.least) found.least = low[lane];
        if (high[lane] > found.size) found.size = high[lane];
    }
    if (own >= 0) {
        found.chosen = p->cost[own];
        found.closed = !p->fits[own];
    }
    return found;
}

#endif
