"""Columns held for compiled passes: where each begins, and the arrays that these point into."""

import numpy as np


cdef class Held:
    """Columns in one piece each, for as long as this lives."""

    def __init__(self, jobs, sites, series, network):
        cdef Columns* c = &self.at
        self._arrays = []
        c.rows, c.count, c.hubs = len(jobs.job_id), len(sites.site_id), network.rtt_ms.shape[1]
        c.horizon, c.slot_ms = series.price_per_mwh.shape[1], series.slot_ms
        c.job_class, c.precision = self.whole(jobs.job_class), self.whole(jobs.precision)
        c.duration_ms, c.demand = self.whole(jobs.duration_ms), self.whole(jobs.demand)
        c.release_slot = self.whole(jobs.release_slot)
        c.deadline_slot = self.whole(jobs.deadline_slot)
        c.origin_hub, c.max_rtt_ms = self.whole(jobs.origin_hub), self.real(jobs.max_rtt_ms)
        c.residency, c.affinity = self.whole(jobs.residency), self.whole(jobs.affinity)
        c.data_gb, c.data_site = self.real(jobs.data_gb), self.whole(jobs.data_site)
        c.data_hub, c.current_site = self.whole(jobs.data_hub), self.whole(jobs.current_site)
        c.migration_cost, c.reject_cost = self.real(jobs.migration_cost), self.real(jobs.reject_cost)
        c.priority = self.whole(jobs.priority)
        c.hub, c.pue_ppm = self.whole(sites.hub), self.whole(sites.pue_ppm)
        c.classes, c.up = self.whole(sites.classes), self.flags(sites.up)
        c.rate_ppm, c.capacity = self.whole(sites.rate_ppm), self.whole(sites.capacity)
        c.rtt_ms, c.price_per_gb = self.real(network.rtt_ms), self.real(network.price_per_gb)

    cdef const long long* whole(self, column):
        cdef const long long[::1] flat = np.ascontiguousarray(column).reshape(-1)
        self._arrays.append(flat)
        return &flat[0]

    cdef const double* real(self, column):
        cdef const double[::1] flat = np.ascontiguousarray(column).reshape(-1)
        self._arrays.append(flat)
        return &flat[0]

    cdef const unsigned char* flags(self, column):
        cdef const unsigned char[::1] flat = np.ascontiguousarray(column).view(np.uint8)
        self._arrays.append(flat)
        return &flat[0]
