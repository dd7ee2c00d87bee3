"""The columns of a match as compiled passes read them; names as in columns.py."""


cdef struct Columns:
    Py_ssize_t rows, count, horizon, hubs  # N, M, T, H
    long long slot_ms
    const long long* job_class
    const long long* precision
    const long long* duration_ms
    const long long* release_slot
    const long long* deadline_slot
    const long long* origin_hub
    const long long* residency
    const long long* affinity
    const long long* data_site
    const long long* data_hub
    const long long* current_site
    const long long* priority
    const long long* demand  # [N, K]
    const double* max_rtt_ms
    const double* data_gb
    const double* migration_cost
    const double* reject_cost
    const long long* hub
    const long long* pue_ppm
    const long long* classes
    const unsigned char* up
    const long long* rate_ppm  # [M, class, precision]
    const long long* capacity  # [M, T, K]
    const double* rtt_ms  # [P, H]
    const double* price_per_gb  # [P, H]


cdef class Held:
    cdef Columns at
    cdef list _arrays

    cdef const long long* whole(self, column)
    cdef const double* real(self, column)
    cdef const unsigned char* flags(self, column)
