"""Core engine where quotas bind: an option uses its site's row of capacity and those of quotas.

    pool   [S, M, L] i4   rows of capacity that jobs of a signature use at a site too, -1 pads

Pricing is that of _core.pyx: the tables hold what quotas cost. reference.py does both.
"""

from kernels.match._core cimport Engine


cdef class Pooled(Engine):
    """The loops over a problem with quotas."""

    cdef const int[:, :, ::1] pool
    cdef const int[::1] signature

    def __init__(self, problem, threads=1):
        Engine.__init__(self, problem, threads)
        self.pool, self.signature = problem.pools.rows, problem.pools.signature

    cdef void add_edges(
        self, long long[:, :, ::1] edges, Py_ssize_t job, Py_ssize_t option
    ) noexcept nogil:
        Engine.add_edges(self, edges, job, option)
        cdef Py_ssize_t k, at, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start), signature = self.signature[job]
        cdef int row
        cdef long long need
        for at in range(self.pool.shape[2]):
            row = self.pool[signature, site, at]
            if row >= 0:
                for k in range(self.kinds):
                    need = self.need(job, site, k)
                    edges[row, start, k] += need
                    edges[row, end, k] -= need

    cdef bint fits(
        self, Py_ssize_t job, Py_ssize_t option, const long long[:, :, ::1] free
    ) noexcept nogil:
        if not Engine.fits(self, job, option, free):
            return False
        cdef Py_ssize_t k, t, at, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start), signature = self.signature[job]
        cdef int row
        cdef long long need
        for at in range(self.pool.shape[2]):
            row = self.pool[signature, site, at]
            if row >= 0:
                for k in range(self.kinds):
                    need = self.need(job, site, k)
                    for t in range(start, end):
                        if free[row, t, k] < need:
                            return False
        return True

    cdef void occupy(
        self, Py_ssize_t job, Py_ssize_t option, long long[:, :, ::1] free, int sign
    ) noexcept nogil:
        if option < 0:
            return
        Engine.occupy(self, job, option, free, sign)
        cdef Py_ssize_t k, t, at, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start), signature = self.signature[job]
        cdef int row
        cdef long long need
        for at in range(self.pool.shape[2]):
            row = self.pool[signature, site, at]
            if row >= 0:
                for k in range(self.kinds):
                    need = sign * self.need(job, site, k)
                    for t in range(start, end):
                        free[row, t, k] -= need
