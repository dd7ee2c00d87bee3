"""One look at a column: is there anything in it that checks.py has to name?"""

from libc.math cimport isfinite


def outside(column, double low, double high):
    """Whether a float64 column, in one piece, has a value that is not finite, < low or > high."""
    cdef const double[::1] flat = column.reshape(-1)
    cdef Py_ssize_t i
    for i in range(flat.shape[0]):
        if not isfinite(flat[i]) or flat[i] < low or flat[i] > high:
            return True
    return False


cdef extern from *:
    """
    static int gl_has_avx2(void) {
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
        return __builtin_cpu_supports("avx2") != 0;
    #else
        return 0;
    #endif
    }
    """
    int gl_has_avx2()


def has_avx2():
    """Whether this machine has the wider vectors that _network_avx2 is compiled for."""
    return gl_has_avx2() != 0
