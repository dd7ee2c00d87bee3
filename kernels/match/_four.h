/* Four numbers at a time: one register where the machine has it, two where it has not.
 *
 * Elementwise, and lanes are put together in a fixed order: any width of vector gives the same bits.
 */
#ifndef GRIDLOOM_MATCH_FOUR_H
#define GRIDLOOM_MATCH_FOUR_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define GL_WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define GL_WIDEST
#endif

#define GL_INSIDE __attribute__((always_inline)) static inline

typedef double gl_four __attribute__((vector_size(32), aligned(8), may_alias));
typedef long long gl_mask __attribute__((vector_size(32)));
typedef long long gl_whole __attribute__((vector_size(32), aligned(8), may_alias));
#define GL_FOUR(at) (*(gl_four *)(at))
#define GL_WHOLE(at) (*(gl_whole *)(at))
#define GL_WHERE(is, a, b) ((gl_four)(((gl_mask)(a) & (is)) | ((gl_mask)(b) & ~(is))))
#define GL_ALL(number) ((number) + (gl_four){0, 0, 0, 0})
#define GL_LANES(four, a, b) ((gl_four){(four)[a], (four)[b], (four)[a], (four)[b]})

#endif
