/* Small dense blocks of the normal equations, four columns at a time.
 *
 * Rows are padded to a multiple of 4. A vector of four is one register where the machine has it
 * and two or four where it has not: the operations and their order are the same, so every bit is.
 */
#ifndef GRIDLOOM_BALANCE_DENSE_H
#define GRIDLOOM_BALANCE_DENSE_H

#if defined(__GNUC__)
typedef double gl_four __attribute__((vector_size(32), aligned(8), may_alias));
#define GL_FOUR(at) (*(const gl_four *)(at))
#define GL_ADD_TO(at, sign, sum) (*(gl_four *)(at) += (sign) * (sum))
#define GL_TIMES(v, row) ((v) * GL_FOUR(row))
#define GL_PLUS(a, b) ((a) + (b))
static inline gl_four gl_zero(void) { return (gl_four){0.0, 0.0, 0.0, 0.0}; }
#else
typedef struct { double of[4]; } gl_four;
static inline gl_four gl_zero(void) { gl_four z = {{0.0, 0.0, 0.0, 0.0}}; return z; }
static inline gl_four GL_TIMES(double v, const double *row)
{
    gl_four s;
    for (int c = 0; c < 4; c++) s.of[c] = v * row[c];
    return s;
}
static inline gl_four GL_PLUS(gl_four a, gl_four b)
{
    for (int c = 0; c < 4; c++) a.of[c] += b.of[c];
    return a;
}
static inline void GL_ADD_TO(double *at, double sign, gl_four s)
{
    for (int c = 0; c < 4; c++) at[c] += sign * s.of[c];
}
#endif

/* to += sign x (sum over k < n of by[k stride] x row k of rows); the even k and the odd ones are
 * summed apart, so that one addition need not wait for the other. */
static inline void gl_combine(int n, const double *by, int stride, const double *rows, int wide,
                              double sign, double *to)
{
    int c = 0, k;
    for (; c + 8 <= wide; c += 8) {
        const double *row = rows + c, *v = by;
        gl_four a = gl_zero(), b = gl_zero(), d = gl_zero(), e = gl_zero();
        for (k = 0; k + 2 <= n; k += 2, row += 2 * wide, v += 2 * stride) {
            a = GL_PLUS(a, GL_TIMES(v[0], row));
            b = GL_PLUS(b, GL_TIMES(v[0], row + 4));
            d = GL_PLUS(d, GL_TIMES(v[stride], row + wide));
            e = GL_PLUS(e, GL_TIMES(v[stride], row + wide + 4));
        }
        if (k < n) {
            a = GL_PLUS(a, GL_TIMES(v[0], row));
            b = GL_PLUS(b, GL_TIMES(v[0], row + 4));
        }
        GL_ADD_TO(to + c, sign, GL_PLUS(a, d));
        GL_ADD_TO(to + c + 4, sign, GL_PLUS(b, e));
    }
    if (c < wide) {
        const double *row = rows + c, *v = by;
        gl_four a = gl_zero(), d = gl_zero();
        for (k = 0; k + 2 <= n; k += 2, row += 2 * wide, v += 2 * stride) {
            a = GL_PLUS(a, GL_TIMES(v[0], row));
            d = GL_PLUS(d, GL_TIMES(v[stride], row + wide));
        }
        if (k < n) a = GL_PLUS(a, GL_TIMES(v[0], row));
        GL_ADD_TO(to + c, sign, GL_PLUS(a, d));
    }
}

/* out[f] = by x row[at[f]] x w[f]; straight where at[f] = f. */
static inline void gl_pick(int n, double by, const double *__restrict row,
                           const int *__restrict at, int straight, const double *__restrict w,
                           double *__restrict out)
{
    if (straight)
        for (int f = 0; f < n; f++) out[f] = by * row[f] * w[f];
    else
        for (int f = 0; f < n; f++) out[f] = by * row[at[f]] * w[f];
}

/* out[f] -= by x row[at[f]] x w[f] */
static inline void gl_pick_off(int n, double by, const double *__restrict row,
                               const int *__restrict at, int straight, const double *__restrict w,
                               double *__restrict out)
{
    if (straight)
        for (int f = 0; f < n; f++) out[f] -= by * row[f] * w[f];
    else
        for (int f = 0; f < n; f++) out[f] -= by * row[at[f]] * w[f];
}

#endif
