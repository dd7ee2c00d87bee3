"""What _descent.Descent holds, for the search that goes on with its plan."""

from kernels.match._core cimport Engine

cdef enum:
    REJECTED = -1


cdef class Descent:
    cdef Engine engine
    cdef Py_ssize_t n, count
    cdef const int[:, ::1] options
    cdef const double[:, ::1] costs, priced, keys
    cdef const int[:, ::1] by_cost, by_price
    cdef const double[::1] cheapest
    cdef double[::1] escape  # [n] cost of the cheapest other place with room; rejection is one
    cdef int[::1] option
    cdef double[::1] current
    cdef long long[:, :, ::1] free
    cdef long long* room  # where `free` begins
    cdef int[:, ::1] members
    cdef int[::1] held, at

    cdef double total(self) noexcept nogil
    cdef void find_escape(self, Py_ssize_t job) noexcept nogil
    cdef bint improve(self, Py_ssize_t job, int scan) noexcept nogil
    cdef bint eject(
        self, Py_ssize_t job, int option, double cost, double gain, int scan
    ) noexcept nogil
    cdef double cost_at(self, Py_ssize_t job, int option) noexcept nogil
    cdef bint fits_without(
        self, Py_ssize_t job, int option, Py_ssize_t one, int left
    ) noexcept nogil
    cdef void move(self, Py_ssize_t job, int option, double cost) noexcept nogil
    cdef void enter(self, Py_ssize_t job, int option) noexcept nogil
