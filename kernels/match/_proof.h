/* The certificate's pass over the jobs, one slot; certificate.py's bits.
 *
 * Tables [.., wide] are of the sites, up to a multiple of four, behind them of sites that take nobody.
 */
#ifndef GRIDLOOM_MATCH_PROOF_H
#define GRIDLOOM_MATCH_PROOF_H

#include "_four.h"

enum { GL_KINDS = 5, GL_POWER = 2, GL_GREEN = 4, GL_PPM = 1000000 };

typedef struct {
    long wide;
    double per_ms;                   /* of round trip */
    long long slot_ms;
    long long small;                 /* what is asked for up to here is scaled exactly in doubles */
    long hubs;
    int straight;                    /* 1 = the hub of site m is m, everywhere */
    const long long *hub, *bit;      /* [wide] and the bit of residency that it is */
    const long long *takes;          /* [class, wide] -1 = up and takes it, 0 */
    const long long *rate, *pue_ppm; /* [class x precision, wide]; [wide] */
    const unsigned char *even;       /* [class x precision] 1 = all sites have the same rate */
    const long long *room;           /* [K, wide] */
    const double *space, *scale;     /* room and pue_ppm; more room than small jobs need is 2^53 */
    const double *watt, *price;      /* [wide] energy of a watt in the slot; [K, wide] */
    const double *rtt, *per_gb;      /* [places, H] */
} gl_proof;

typedef struct {
    const long long *demand;         /* [K] */
    long long work, release, deadline, pair, of_class, own, held;
    long long origin, data_place, data_site, current_site;  /* -1 = none; data_place: to be moved */
    double most_rtt, data_gb, migration;
} gl_row;

typedef struct { double least, size, chosen; int closed; } gl_proved;

/* Slots that a job runs at a rate, 0 where it does not. */
static inline long long gl_runs(const gl_proof *p, const gl_row *job, long long rate)
{
    const long long done = rate * p->slot_ms;
    if (done <= 0) return 0;
    return job->work <= done ? 1 : (job->work + done - 1) / done;  /* divisions are slow */
}

/* What a row [H] says of four sites. */
static inline gl_four gl_to(const gl_proof *p, const double *row, long m)
{
    const long long *hub = p->hub + m;
    if (p->straight) return GL_FOUR(row + m);
    return (gl_four){row[hub[0]], row[hub[1]], row[hub[2]], row[hub[3]]};
}

/* Use of a resource at four sites, and where there is room for it. */
static inline gl_four gl_use(const gl_proof *p, int k, long long asked, long m, gl_mask *fits)
{
    const int scaled = k == GL_POWER || k == GL_GREEN;
    gl_four need = GL_ALL((double)asked);
    if (asked <= p->small) {
        if (scaled) {
            /* the nearest whole number to x / PPM, then the one not above it: all of it exact */
            const gl_four x = need * GL_FOUR(p->scale + m) + (double)(GL_PPM - 1);
            need = (x * 1e-6 + 0x1p52) - 0x1p52;
            need = GL_WHERE(need * (double)GL_PPM > x, need - 1.0, need);
        }
        *fits &= need <= GL_FOUR(p->space + k * p->wide + m);
        return need;
    }
    for (int lane = 0; lane < 4; lane++) {
        const unsigned long long ppm = scaled ? (unsigned long long)p->pue_ppm[m + lane] : GL_PPM;
        const unsigned long long drawn = ((unsigned long long)asked * ppm + (GL_PPM - 1)) / GL_PPM;
        need[lane] = (double)(long long)drawn;
        (*fits)[lane] &= -(long long)((long long)drawn <= p->room[k * p->wide + m + lane]);
    }
    return need;
}

/* The cheapest option at the prices, the largest sum in it, and the cost of the job's own site. */
GL_WIDEST
static gl_proved gl_prove(const gl_proof *p, const gl_row *job, long own)
{
    const double infinite = __builtin_inf(), watts = (double)job->demand[GL_POWER];
    const gl_four none = {0, 0, 0, 0};
    const gl_mask everywhere = {-1, -1, -1, -1};
    const long long *rates = p->rate + job->pair * p->wide;
    const long long *takes = p->takes + job->of_class * p->wide;
    const double *near = p->rtt + job->origin * p->hubs;
    const double *per_gb = p->per_gb + job->data_place * p->hubs;
    const int even = p->even[job->pair], bound = job->own != -1 || job->held != -1;
    const long long runs = gl_runs(p, job, rates[0]);
    gl_four low = GL_ALL(infinite), high = none, chosen = none, late = none;
    gl_mask site = {0, 1, 2, 3}, fitting = {0, 0, 0, 0};
    if (runs > 1) late = GL_ALL((double)(runs - 1));
    for (long m = 0; m < p->wide; m += 4, site += 4) {
        gl_mask allowed = GL_WHOLE(takes + m), fits = everywhere;
        gl_four moving = none, paid;
        if (even) {
            allowed &= -(long long)(runs > 0);
            fits &= -(long long)((job->deadline == -1) | (runs <= job->deadline));
        } else {
            for (int lane = 0; lane < 4; lane++) {
                const long long here = gl_runs(p, job, rates[m + lane]);
                late[lane] = here > 1 ? (double)(here - 1) : 0.0;
                allowed[lane] &= -(long long)(here > 0);
                fits[lane] = -(long long)((job->deadline == -1) | (here <= job->deadline));
            }
        }
        fits &= -(long long)(job->release <= 0);
        if (job->data_place >= 0)
            moving = GL_WHERE(site != job->data_site, job->data_gb * gl_to(p, per_gb, m), none);
        if (job->current_site >= 0)
            moving = GL_WHERE(site != job->current_site, moving + job->migration, moving);
        if (bound) {
            if (job->own != -1) allowed &= site == job->own;
            allowed &= (GL_WHOLE(p->bit + m) & job->held) != 0;
        }
        allowed &= (moving < infinite) & (moving > -infinite);
        if (job->origin >= 0) {
            const gl_four rtt = gl_to(p, near, m);
            allowed &= (rtt <= job->most_rtt) & (rtt < infinite) & (rtt > -infinite);
            paid = GL_WHERE(allowed, moving, none);
            if (p->per_ms != 0.0) paid += GL_WHERE(allowed, p->per_ms * rtt, none);
        } else {
            paid = GL_WHERE(allowed, moving, none);
        }
        const gl_four watt = GL_FOUR(p->watt + m);
        const gl_four cost = paid + watts * (watt + late * watt);
        gl_four priced = cost, size = GL_WHERE(cost < 0.0, -cost, cost);
        fits &= allowed;
        for (int k = 0; k < GL_KINDS; k++)
            if (job->demand[k]) {
                const gl_four need = gl_use(p, k, job->demand[k], m, &fits);
                const gl_four worth = need * GL_FOUR(p->price + k * p->wide + m);
                priced += worth;
                size += worth;
            }
        low = GL_WHERE(fits & (priced < low), priced, low);
        high = GL_WHERE(fits & (size > high), size, high);
        chosen = GL_WHERE(site == own, cost, chosen);
        fitting |= fits & (site == own);
    }
    gl_proved found = {low[0], high[0], infinite, 0};
    for (int lane = 1; lane < 4; lane++) {
        if (low[lane] < found.least) found.least = low[lane];
        if (high[lane] > found.size) found.size = high[lane];
    }
    if (own >= 0) {
        found.chosen = chosen[own & 3];
        found.closed = !fitting[own & 3];
    }
    return found;
}

#endif
