/* The compiled filters and fixed costs of a job at all sites, one slot; problem.py's bits.
 *
 * Tables [.., wide] are of the sites, up to a multiple of four, behind them of sites that take nobody.
 */
#ifndef GRIDLOOM_MATCH_PAIRS_H
#define GRIDLOOM_MATCH_PAIRS_H

#include "_four.h"

enum { GL_RESOURCES = 5, GL_POWER_W = 2 };

/* One row of the columns, read once. */
typedef struct {
    const long long *demand;         /* [K] */
    long long work, first, deadline, pair, own, held, data_site, current_site;
    double most_rtt, data_gb, migration;
    const double *rtt, *per_gb;      /* [H] from its origin, from where its data are; NULL = none */
} gl_job;

typedef struct {
    long sites, wide;
    double per_ms;                   /* of round trip */
    long long slot_ms;
    const long long *hub;            /* [wide] */
    const long long *takes;          /* [class x precision, wide] -1 = up, of that class, can run it */
    const long long *rate;           /* [class x precision, wide] */
    const long long *even;           /* [class x precision] the rate of all sites, -1 = they differ */
    const double *watt;              /* [wide] energy of a watt in the last slot */
    const long long *most;           /* [K, wide] that one job may ask for */
    long long least[GL_RESOURCES];   /* of these */
    double *late;                    /* of one job, [wide] slots past the first */
    long long *allowed;              /* [wide] -1 = not forbidden by what few jobs ask for */
} gl_pairs;

static inline long long gl_slots(const gl_pairs *p, const gl_job *job, long long rate)
{
    const long long done = rate * p->slot_ms;
    return done > 0 ? (job->work + done - 1) / done : 0;
}

/* Slots of a run past the first at every site; those sites where it ends in time. */
static const long long *gl_run(const gl_pairs *p, const gl_job *job, const long long *allowed)
{
    const long long *rates = p->rate + job->pair * p->wide;
    long long before = -1, slots = 0;
    for (long m = 0; m < p->wide; m++) {
        if (rates[m] != before) slots = gl_slots(p, job, before = rates[m]);
        p->late[m] = slots > 1 ? (double)(slots - 1) : 0.0;
        p->allowed[m] = allowed[m] & -(long long)(job->deadline == -1 || slots <= job->deadline);
    }
    return p->allowed;
}

/* Sites where the job may be held and has room. */
static const long long *gl_narrow(const gl_pairs *p, const gl_job *job, const long long *allowed)
{
    for (long m = 0; m < p->wide; m++) {
        const long long held = job->held >> (p->hub[m] < 63 ? p->hub[m] : 63) & 1;
        int fits = job->own == -1 || job->own == m;
        for (int k = 0; k < GL_RESOURCES; k++) fits &= job->demand[k] <= p->most[k * p->wide + m];
        p->allowed[m] = allowed[m] & -(held & fits);
    }
    return p->allowed;
}

/* Whether any site is open to the job; what that costs there, infinite where it is not. */
GL_WIDEST
static int gl_price_pairs(const gl_pairs *p, const gl_job *job, double *restrict fixed)
{
    const gl_four infinite = GL_ALL(__builtin_inf());
    const double watts = (double)job->demand[GL_POWER_W];
    const long long *allowed = p->takes + job->pair * p->wide, even = p->even[job->pair];
    gl_mask here = {0, 1, 2, 3}, any = {0, 0, 0, 0};
    int narrow = job->own != -1 || job->held != -1;
    for (int k = 0; k < GL_RESOURCES; k++) narrow |= job->demand[k] > p->least[k];
    if (even < 0) {
        allowed = gl_run(p, job, allowed);
    } else {
        const long long slots = gl_slots(p, job, even);
        if (job->deadline != -1 && slots > job->deadline) return 0;
        const gl_four late = GL_ALL(slots > 1 ? (double)(slots - 1) : 0.0);
        for (long m = 0; m < p->wide; m += 4) GL_FOUR(p->late + m) = late;
    }
    if (narrow) allowed = gl_narrow(p, job, allowed);
    for (long m = 0; m < p->wide; m += 4, here += 4) {
        const long long *hub = p->hub + m;
        gl_mask is_open = GL_WHOLE(allowed + m);
        gl_four cost = {0, 0, 0, 0}, origin = cost;
        if (job->per_gb) {
            const double *paid = job->per_gb;
            const gl_four per_gb = {paid[hub[0]], paid[hub[1]], paid[hub[2]], paid[hub[3]]};
            cost += (gl_four)((gl_mask)(job->data_gb * per_gb) & (here != job->data_site));
            is_open &= (cost < infinite) & (cost > -infinite);
        }
        if (job->current_site >= 0)
            cost += (gl_four)((gl_mask)GL_ALL(job->migration) & (here != job->current_site));
        if (job->rtt) {
            const double *from = job->rtt;
            const gl_four rtt = {from[hub[0]], from[hub[1]], from[hub[2]], from[hub[3]]};
            is_open &= (rtt <= job->most_rtt) & (rtt < infinite) & (rtt > -infinite);
            origin = p->per_ms * rtt;
        }
        cost = cost + origin + watts * (GL_FOUR(p->late + m) * GL_FOUR(p->watt + m));
        cost = GL_WHERE(is_open, cost, infinite);
        any |= is_open;
        if (m + 4 <= p->sites) GL_FOUR(fixed + m) = cost;
        else for (long at = m; at < p->sites; at++) fixed[at] = cost[at - m];
    }
    return (any[0] | any[1] | any[2] | any[3]) != 0;
}

#endif
