/* JSON numbers and decimal texts: mantissa and power of ten, exact; nothing passes through a float
   unless the column is one. */
#ifndef GRIDLOOM_NUMBER_H
#define GRIDLOOM_NUMBER_H

#include "_scan.h"

#define DIGITS_MAX 18          /* any 18 digits fit 63 bits */
#define FLOAT_DIGITS 1000000000000000ull /* below: 15 digits, which a float gives back unchanged */
#define TEXT_MAX 400           /* bytes of a number that is read as text */
#define ADJUSTED_MAX 30        /* schemas.units: place of the first digit */

#if GRIDLOOM_X86
/* Shuffles of sixteen digits: without the point at a place; so many of them to the right. */
#define D 0x80
static const byte WITHOUT_POINT[16][16] = {
    {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, D},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, D}};
static const byte TO_THE_RIGHT[32] = {
    D, D, D, D, D, D, D, D, D, D, D, D, D, D, D, D, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#undef D
#endif

typedef struct {
    uint64_t mantissa;
    int32_t exponent;
    int32_t digits;      /* of the mantissa; zeros in front may count while there are few */
    byte is_negative, is_float;
} Number;

static const uint64_t POWERS[] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull,
    1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull,
    100000000000000ull, 1000000000000000ull, 10000000000000000ull, 100000000000000000ull,
    1000000000000000000ull, 10000000000000000000ull};
static const double FLOAT_POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Digits from p on, appended to the mantissa (which wraps beyond 19: see digits). */
INLINE const byte *digits_run(const byte *p, const byte *end, Number *n) {
    for (;;) {
        uint64_t word = load8(p);
        int count = digits_in(word);
        if (count) {
            n->mantissa = n->mantissa * POWERS[count] + digits_value(word, count);
            n->digits += count;
            p += count;
        }
        if (count < 8 || p >= end) return p;
    }
}

/* Zeros in front of all other digits of what was read from p to `end`. */
static int32_t zeros_in_front(const byte *p, const byte *end) {
    int32_t zeros = 0;
    for (; p < end && (*p == '0' || *p == '.'); p++) zeros += *p == '0';
    return zeros;
}

/* e, E, a sign and digits; NULL where no digit comes. */
static const byte *exponent_run(const byte *p, const byte *end, Number *n) {
    int32_t power = 0, down;
    p++;
    down = *p == '-';
    if (*p == '-' || *p == '+') p++;
    if ((byte)(*p - '0') > 9) return NULL;
    for (; p < end && (byte)(*p - '0') <= 9; p++)
        if (power < 100000) power = 10 * power + (*p - '0');
    n->exponent += down ? -power : power;
    return p;
}

/* The number at p by JSON's grammar; NULL where there is none. May end past `end`. */
INLINE const byte *number(const byte *p, const byte *end, Number *n) {
    n->mantissa = 0;
    n->exponent = n->digits = 0;
    n->is_float = 0;
    n->is_negative = *p == '-';
    p += n->is_negative;
    const byte *begin = p, *first = p;
    p = digits_run(p, end, n);
    if (p == first || (*first == '0' && p != first + 1)) return NULL;
    if (*p == '.') {
        first = ++p;
        p = digits_run(p, end, n);
        if (p == first) return NULL;
        n->exponent = (int32_t)(first - p);
        n->is_float = 1;
    }
    if (UNLIKELY(n->digits > DIGITS_MAX)) n->digits -= zeros_in_front(begin, p);
    if (UNLIKELY((*p | 0x20) == 'e')) {
        n->is_float = 1;
        p = exponent_run(p, end, n);
    }
    return p;
}

/* Whether a float of these digits is certainly finite. */
INLINE int is_finite_number(const Number *n) {
    return n->digits + n->exponent < 300 && n->digits < 300;
}

INLINE int is_exact(const Number *n) { return n->digits <= DIGITS_MAX; }

/* The place of the first digit is one that schemas.units takes. */
INLINE int is_in_reach(const Number *n) {
    if (n->mantissa == 0) return 1;
    int32_t adjusted = n->exponent - 1;
    for (uint64_t rest = n->mantissa; rest; rest /= 10) adjusted++;
    return -ADJUSTED_MAX <= adjusted && adjusted <= ADJUSTED_MAX;
}

/* A decimal text as schemas.units reads it, up to its closing quote; NULL: something else. */
static const byte *decimal_text(const byte *p, const byte *end, Number *n) {
    n->mantissa = 0;
    n->exponent = n->digits = 0;
    n->is_float = 0;
    n->is_negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    const byte *begin = p;
    p = digits_run(p, end, n);
    if (*p == '.') {
        const byte *first = ++p;
        p = digits_run(p, end, n);
        n->exponent = (int32_t)(first - p);
    }
    if (n->digits == 0) return NULL;
    if (n->digits > DIGITS_MAX) n->digits -= zeros_in_front(begin, p);
    if ((*p | 0x20) == 'e' && !(p = exponent_run(p, end, n))) return NULL;
    return *p == '"' && is_exact(n) ? p : NULL;
}

/* The text from `p` to `end` as a float, correctly rounded. Returns 0 where it is not finite. */
static int slow_float(const byte *p, const byte *end, double *to) {
    char text[TEXT_MAX + 1];
    if (end - p > TEXT_MAX) return 0;
    memcpy(text, p, (size_t)(end - p));
    text[end - p] = 0;
    *to = PyOS_string_to_double(text, NULL, NULL);
    if (*to == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return *to - *to == 0.0;
}

/* A JSON number as the nearest float (Clinger's exact case first). Returns 0 where declined. */
INLINE int to_float(const Number *n, const byte *p, const byte *end, double *to) {
    if (LIKELY(is_exact(n) && n->mantissa <= (1ull << 53) && n->exponent >= -22 &&
               n->exponent <= 22)) {
        double exact = (double)n->mantissa;
        exact = n->exponent < 0 ? exact / FLOAT_POWERS[-n->exponent]
                                : exact * FLOAT_POWERS[n->exponent];
        *to = n->is_negative ? -exact : exact;
        return 1;
    }
    return slow_float(p, end, to);
}

/* A JSON float as the shortest decimal that reads back as itself. Returns 0 where declined. */
static int shortest(Number *n, const byte *p, const byte *end) {
    double read;
    if (!slow_float(p, end, &read)) return 0;
    char *text = PyOS_double_to_string(read, 'r', 0, 0, NULL);
    if (!text) {
        PyErr_Clear();
        return 0;
    }
    byte padded[TEXT_MAX + PAD] = {0};
    size_t size = strlen(text);
    memcpy(padded, text, size);
    PyMem_Free(text);
    padded[size] = '"';
    return decimal_text(padded, padded + size, n) != NULL;
}

/* A JSON number as the decimal it counts as. Returns 0 where declined. */
INLINE int to_decimal(Number *n, const byte *p, const byte *end) {
    if (!is_exact(n) || (n->is_float && n->mantissa >= FLOAT_DIGITS)) {
        if (!n->is_float || !shortest(n, p, end)) return 0;
    }
    return 1;
}

#endif
