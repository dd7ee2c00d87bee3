"""What _core.Engine holds, for the search that works on it."""


cdef class Engine:
    cdef Py_ssize_t n, rows, sites, slots, kinds, sides  # rows of capacity: sites, then quotas
    cdef readonly int threads
    cdef const long long[:, ::1] demand
    cdef const long long[:, ::1] each, scale  # [n, k] of one job; [M, k] ppm
    cdef const long long[::1] times
    cdef bint bundled  # rows of more than a job
    cdef const long long[:, :, ::1] drawn  # [n, M, facility-side resources] need there; see draw()
    cdef int[::1] side  # [k] column of `drawn`, or -1: the need is the demand
    cdef const double[:, ::1] amount
    cdef const double[:, ::1] fixed
    cdef const double[:, ::1] alone  # [n, wide] fixed, inf behind the sites; of use where T = 1
    cdef const unsigned char[:, :, ::1] open
    cdef const int[:, ::1] span
    # where T > 1
    cdef const int[:, ::1] first, last  # [n, M] open starts lie in [first, last)
    cdef const unsigned char[:, ::1] holes  # [n, M] 1 = not all of these are open
    cdef const long long[::1] lengths
    cdef const double[::1] reject
    cdef const int[::1] site_of, slot_of  # [M x T] of an option

    cdef const long long* draw(self)
    cdef Py_ssize_t begin_of(self, Py_ssize_t job, Py_ssize_t site) noexcept nogil
    cdef Py_ssize_t past_of(self, Py_ssize_t job, Py_ssize_t site) noexcept nogil
    cdef double price(
        self, const double* table, Py_ssize_t job, Py_ssize_t site, Py_ssize_t start
    ) noexcept nogil
    cdef void price_site(
        self, const double* table, Py_ssize_t job, Py_ssize_t site, double* priced
    ) noexcept nogil
    cdef void price_row(
        self, const double* table, Py_ssize_t job, double* priced
    ) noexcept nogil
    cdef void add_edges(
        self, long long[:, :, ::1] edges, Py_ssize_t job, Py_ssize_t option
    ) noexcept nogil
    cdef Py_ssize_t end_of(self, Py_ssize_t job, Py_ssize_t site, Py_ssize_t start) noexcept nogil
    cdef long long need(self, Py_ssize_t job, Py_ssize_t site, Py_ssize_t k) noexcept nogil
    cdef bint fits(
        self, Py_ssize_t job, Py_ssize_t option, const long long* free
    ) noexcept nogil
    cdef void occupy(
        self, Py_ssize_t job, Py_ssize_t option, long long* free, int sign
    ) noexcept nogil
    cdef bint settle(
        self, Py_ssize_t job, Py_ssize_t option, long long* free
    ) noexcept nogil
