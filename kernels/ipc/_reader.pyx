# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference_reader.Rows: the rows of several streams as one batch.

    scan       each value against the templates: where its buffers are, how large they will be.
               Nothing is allocated for a value whose counts and sizes do not agree
    columns    each buffer is unpacked to where its rows belong; texts are looked up
    batch      handed to Arrow through its C data interface: a block, and one for each dictionary

The values come from a network: a place, size or count is compared with what there is before use.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_Check, PyMemoryView_GET_BUFFER
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy, memset

import pyarrow as pa

from kernels._arrow cimport ArrowArray
from kernels.ipc import layout, templates
from kernels.ipc._block cimport Block, reserved
from kernels.ipc._owner cimport ALIGNED, COLUMNS, Owner, aligned, lay, let_go
from kernels.ipc._scan cimport (
    INT32_MAX, SPARE, Laid, Part, Scan, buffer, ended, no_buffer, opened, same,
)
from kernels.ipc._sound cimport are_texts, listed, recoded, rising, unpacked
from kernels.ipc._texts cimport Texts, mapped
from kernels.ipc._unlz4 cimport SLACK

cdef enum:
    SYMBOL = 0  # templates.SYMBOL, BYTES, TEXT: else bytes a value
    BYTES = -1
    TEXT = -2

cdef bytes END = layout.END
cdef Block PARTS, MAP, ENDS, LETTERS
cdef Texts TEXTS  # of the column in hand
_IMPORTED = pa.RecordBatch._import_from_c


cdef class Rows:
    """Reads the streams of one schema; kinds: of each column, see templates."""

    cdef object schema
    cdef bytes head  # the message of the schema
    cdef list kept  # layout.Message of both templates
    cdef Laid[2 * (COLUMNS + 1)] laid
    cdef int[COLUMNS] kind
    cdef Py_ssize_t columns, texts, parts, longest
    cdef int last  # the template that the last value was of

    def __init__(self, schema, kinds):
        assert len(kinds) <= COLUMNS, "a topic has too many columns"
        self.schema = schema
        self.head = schema.serialize().to_pybytes()
        self.columns = len(kinds)
        self.texts = kinds.count(SYMBOL)
        self.parts = 2 * self.texts + sum(1 + (kind < 0) for kind in kinds)
        for column, kind in enumerate(kinds):
            self.kind[column] = kind
        self.kept = []
        for template in templates.of(schema, kinds):
            for message in (*template.dictionaries, template.batch):
                self._lay(len(self.kept), message, message is template.batch)
                self.kept.append(message)

    cdef int _lay(self, Py_ssize_t number, message, bint batch) except -1:
        cdef Laid* laid = &self.laid[number]
        laid.bytes = PyBytes_AS_STRING(message.bytes)
        laid.size = len(message.bytes)
        laid.body_bytes, laid.rows = message.body_bytes, message.rows
        laid.nodes, laid.buffers = message.nodes, message.buffers
        laid.node_count, laid.buffer_count = 1, 3
        if batch:
            laid.node_count = self.columns
            laid.buffer_count = self.columns + self.parts - 2 * self.texts
        self.longest = max(self.longest, laid.size)
        return 0

    def read(self, values):
        """reference_reader.Rows.read: a batch, or None where a value is not of this layout."""
        cdef list given = list(values)
        cdef Py_ssize_t number, count = len(given)
        cdef int64_t rows, total = 0
        cdef Part* parts = <Part*>reserved(&PARTS, count * self.parts * sizeof(Part))
        cdef Owner* owner
        cdef ArrowArray root
        cdef bint sound = False
        for number in range(count):
            value = given[number]
            rows = self._of_value(value, parts + number * self.parts)
            total += rows
            if rows <= 0 or total > INT32_MAX:
                return None
        if count == 0:
            return None
        owner = <Owner*>malloc(self._room(count, total))
        if owner == NULL:
            return None
        owner.texts = 0
        memset(&root, 0, sizeof(root))
        root.private_data = owner
        try:
            sound = self._columns(owner, count, total)
        finally:
            if not sound:
                let_go(&root)
        if not sound:
            return None
        root.length = total
        root.n_buffers, root.n_children = 1, self.columns
        root.buffers, root.children = &owner.buffers[0], owner.children
        root.release = let_go
        return _IMPORTED(<uintptr_t>&root, self.schema)

    cdef int64_t _of_value(self, value, Part* parts) except -2:
        """The rows of bytes or of a view of bytes; the list that holds it keeps its memory."""
        cdef Py_buffer* view
        if PyBytes_CheckExact(value):
            return self._scanned(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), parts)
        if not PyMemoryView_Check(value) or not value.c_contiguous:
            return -1
        view = PyMemoryView_GET_BUFFER(value)
        return self._scanned(<const char*>view.buf, view.len, parts)

    cdef int64_t _scanned(self, const char* value, Py_ssize_t size, Part* parts) except -2:
        """The rows of a value, and its parts; -1 where it is of neither template."""
        cdef Py_ssize_t head = PyBytes_GET_SIZE(self.head), end = PyBytes_GET_SIZE(END)
        cdef int64_t rows
        cdef Scan scan
        if size < head + end or memcmp(value, PyBytes_AS_STRING(self.head), head):
            return -1
        if memcmp(value + size - end, PyBytes_AS_STRING(END), end):
            return -1
        scan.end = value + size - end
        scan.filled = reserved(&MAP, self.longest)
        scan.at = value + head
        rows = self._of_template(self.last, &scan, parts)
        if rows < 0:
            scan.at = value + head
            rows = self._of_template(1 - self.last, &scan, parts)
            if rows > 0:
                self.last = 1 - self.last
        return rows

    cdef int64_t _of_template(self, int template, Scan* scan, Part* part) noexcept nogil:
        cdef const Laid* laid = self.laid + template * (self.texts + 1)
        cdef Py_ssize_t message, column
        cdef int64_t least
        for message in range(self.texts):
            if not opened(laid + message, scan) or not no_buffer(scan):
                return -1
            least = 4 * (scan.rows + 1)
            if not buffer(scan, part, least, least + SPARE):
                return -1
            if not buffer(scan, part + 1, 0, INT32_MAX) or not ended(scan):
                return -1
            part += 2
        if not opened(laid + self.texts, scan):
            return -1
        for column in range(self.columns):
            if not no_buffer(scan):
                return -1
            if self.kind[column] < 0:
                least = 4 * (scan.rows + 1)
            else:
                least = scan.rows * (self.kind[column] if self.kind[column] else 4)
            if not buffer(scan, part, least, least + SPARE):
                return -1
            part += 1
            if self.kind[column] < 0:
                if not buffer(scan, part, 0, INT32_MAX):
                    return -1
                part += 1
        return scan.rows if ended(scan) and scan.at == scan.end else -1

    cdef Py_ssize_t _room(self, Py_ssize_t count, int64_t total) noexcept nogil:
        """Bytes of a batch: the owner, then each column's rows."""
        cdef const Part* parts = <Part*>PARTS.data
        cdef Py_ssize_t column, number, width, part = 2 * self.texts, room = sizeof(Owner)
        for column in range(self.columns):
            width = self.kind[column] if self.kind[column] > 0 else 4
            room += width * (total + 1) + SPARE + SLACK + 2 * ALIGNED
            part += 1
            if self.kind[column] < 0:
                for number in range(count):
                    room += parts[number * self.parts + part].plain
                room += SLACK
                part += 1
        return room

    cdef bint _columns(self, Owner* owner, Py_ssize_t count, int64_t total) except -1:
        """Whether all columns are sound; lays them into the owner's block."""
        cdef char* at = <char*>owner + sizeof(Owner)
        cdef char* letters
        cdef Py_ssize_t column, part = 2 * self.texts
        cdef const void** buffers
        cdef const void* data
        cdef int64_t used
        cdef int width
        for column in range(self.columns):
            at = aligned(at)
            buffers = &owner.buffers[3 * column]
            data = NULL
            width = self.kind[column] if self.kind[column] > 0 else 4
            if self.kind[column] == SYMBOL:
                if not self._symbols(owner, part, count, <int32_t*>at):
                    return False
            elif self.kind[column] > 0:
                if not self._numbers(part, count, width, at):
                    return False
            else:
                letters = aligned(at + width * (total + 1))
                used = self._bytes(column, part, count, <int32_t*>at, letters)
                if used < 0:
                    return False
                data = letters
                part += 1
            lay(&owner.arrays[column], buffers, total, at, data)
            owner.children[column] = &owner.arrays[column]
            if self.kind[column] == SYMBOL:
                owner.arrays[column].dictionary = &owner.arrays[COLUMNS + owner.texts - 1]
            at = letters + used + SLACK if data != NULL else at + width * total + SPARE + SLACK
            part += 1
        return True

    cdef bint _numbers(self, Py_ssize_t part, Py_ssize_t count, int width, char* out) noexcept nogil:
        cdef const Part* found = <Part*>PARTS.data + part
        cdef Py_ssize_t number
        for number in range(count):
            if not unpacked(found, out):
                return False
            out += width * found.rows
            found += self.parts
        return True

    cdef int64_t _bytes(
        self, Py_ssize_t column, Py_ssize_t part, Py_ssize_t count, int32_t* ends, char* letters
    ) except -2:
        """Bytes of a column of them, its offsets and data; -1 where they are not sound."""
        cdef const Part* found = <Part*>PARTS.data + part
        cdef const int32_t* given
        cdef Py_ssize_t number
        cdef int64_t used = 0, row
        ends[0] = 0
        for number in range(count):
            given = <int32_t*>reserved(&ENDS, found.plain + SLACK)
            if not unpacked(found, ENDS.data) or not unpacked(found + 1, letters + used):
                return -1
            if not rising(given, found.rows, found[1].plain):
                return -1
            if self.kind[column] == TEXT and not are_texts(given, letters + used, found.rows):
                return -1
            if given[found.rows] > INT32_MAX - used:
                return -1
            for row in range(1, found.rows + 1):
                ends[row] = <int32_t>(used + given[row])
            ends += found.rows
            used += given[found.rows]
            found += self.parts
        return used

    cdef bint _symbols(
        self, Owner* owner, Py_ssize_t part, Py_ssize_t count, int32_t* codes
    ) except -1:
        """Whether a column of texts by code is sound; its dictionary is the owner's next one."""
        cdef const Part* first = <Part*>PARTS.data + 2 * owner.texts
        cdef const Part* texts = first
        cdef const Part* rows = <Part*>PARTS.data + part
        cdef int as_they_are = 1
        cdef Py_ssize_t number
        TEXTS.generation += 1
        TEXTS.size = TEXTS.hashed = 0
        for number in range(count):
            if number == 0:
                if not listed(first, &TEXTS.ends, &TEXTS.letters):
                    return False
                TEXTS.size = <int32_t>first.rows
            elif same(texts, first) and same(texts + 1, first + 1):
                as_they_are = 1
            elif as_they_are or not (
                same(texts, texts - self.parts) and same(texts + 1, texts + 1 - self.parts)
            ):
                if not listed(texts, &ENDS, &LETTERS):
                    return False
                reserved(&MAP, 4 * texts.rows)
                as_they_are = mapped(
                    &TEXTS, <int32_t*>ENDS.data, LETTERS.data, texts.rows, <int32_t*>MAP.data
                )
                if as_they_are < 0:
                    return False
            if not unpacked(rows, <char*>codes):
                return False
            if not recoded(
                codes, rows.rows, texts.rows, NULL if as_they_are else <int32_t*>MAP.data
            ):
                return False
            codes += rows.rows
            rows += self.parts
            texts += self.parts
        return self._dictionary(owner)

    cdef bint _dictionary(self, Owner* owner) except -1:
        """Hands TEXTS to the owner; False: there is no memory."""
        cdef int32_t* ends = <int32_t*>TEXTS.ends.data
        cdef Py_ssize_t size = 4 * (<Py_ssize_t>TEXTS.size + 1)
        cdef char* made = <char*>malloc(size + ends[TEXTS.size])
        if made == NULL:
            return False
        memcpy(made, ends, size)
        memcpy(made + size, TEXTS.letters.data, ends[TEXTS.size])
        lay(
            &owner.arrays[COLUMNS + owner.texts],
            &owner.buffers[3 * (COLUMNS + owner.texts)],
            TEXTS.size,
            made,
            made + size,
        )
        owner.dictionary[owner.texts] = made
        owner.texts += 1
        return True
