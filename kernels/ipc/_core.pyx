# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.streams: the same bytes.

    rows      a record batch through Arrow's C data interface: no copy, no object a column
    lines     rows side by side: turned into columns a few at a time, while they are in the cache
    order     rows by part, the order kept within each: a counting sort
    arena     one stream as it is made; the block stays, so that its pages are fresh only once
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memmove, memset

cimport numpy as cnp

from kernels._arrow cimport ArrowArray, check_indices, has_null
from kernels._core cimport SLACK, Texts
from kernels.ipc import layout
from kernels.ipc._block cimport Block, reserved
from kernels.ipc._lz4 cimport TABLE_BITS, lz4_block
from kernels.ipc._owner cimport COLUMNS

cnp.import_array()

cdef enum:
    PARTS = 1024
    BUFFER = 16
    NODE = 16  # of an entry: offset, length; length, null count
    SPARE = 64  # of a buffer, its size and padding
    SIZE = 8  # before a buffer: what it is uncompressed
    BLOCK_HEADER = 4
    BLOCK_MAX = 65536  # layout.BLOCK_BYTES
    LEAST = 64  # a smaller buffer is not worth a frame
    TURNED = 128  # lines at a time

cdef bytes FRAME = layout.FRAME, FRAME_END = layout.FRAME_END, END = layout.END
cdef uint32_t[1 << TABLE_BITS] TABLE


cdef Block ARENA, ORDER, CODES, PLACES, SCRATCH, TEXTS, COLUMNS_OF, USED, VALID


cdef inline void put(char* at, int64_t number) noexcept nogil:
    memcpy(at, &number, 8)


cdef struct Body:
    char* start  # of the body
    char* at
    char* entry  # of the next buffer in the metadata


cdef inline void entry(Body* body, int64_t size) noexcept nogil:
    put(body.entry, body.at - body.start)
    put(body.entry + 8, size)
    body.entry += BUFFER


cdef inline void ended(Body* body) noexcept nogil:
    """Zeros up to the next multiple of 8."""
    cdef Py_ssize_t over = (body.at - body.start) & 7
    if over:
        memset(body.at, 0, 8 - over)
        body.at += 8 - over


cdef int add(Body* body, const char* data, Py_ssize_t size, int width) except -1:
    """One buffer: an LZ4 frame where that is smaller, else as it is."""
    cdef char* known = body.entry
    cdef char* first = body.at
    cdef char* at = first + SIZE
    cdef char* last = at + size - size // 16 - PyBytes_GET_SIZE(FRAME_END)
    cdef Py_ssize_t done = 0, part, made
    cdef uint32_t head
    entry(body, 0)
    if size == 0:
        return 0
    if size >= LEAST:
        memcpy(at, PyBytes_AS_STRING(FRAME), PyBytes_GET_SIZE(FRAME))
        at += PyBytes_GET_SIZE(FRAME)
        while done < size:
            part = min(BLOCK_MAX, size - done)
            at += BLOCK_HEADER
            made = 0
            if at < last:
                made = lz4_block(
                    <const uint8_t*>data + done, part, width, <uint8_t*>at,
                    min(last - at, part), TABLE,
                )
            if made == 0:
                break
            head = <uint32_t>made
            memcpy(at - BLOCK_HEADER, &head, BLOCK_HEADER)
            at += made
            done += part
    if done == size:
        memcpy(at, PyBytes_AS_STRING(FRAME_END), PyBytes_GET_SIZE(FRAME_END))
        at += PyBytes_GET_SIZE(FRAME_END)
        put(first, size)
    else:
        at = first + SIZE
        memcpy(at, data, size)
        at += size
        put(first, -1)
    put(known + 8, at - first)
    body.at = at
    ended(body)
    return 0


cdef const int32_t* codes_of(const ArrowArray* column) noexcept nogil:
    return <const int32_t*>column.buffers[1] + column.offset


cdef class Streams:
    """Writes the batches of one schema; widths: bytes a value of each column, 0 = texts by code."""

    cdef bytes schema
    cdef object message  # layout.Message of the record batch
    cdef list dictionaries  # layout.Message of each text column's texts
    cdef int[COLUMNS] width
    cdef Py_ssize_t columns, texts
    cdef object dtype  # of the lines that were written last
    cdef Py_ssize_t[COLUMNS] place  # of each column in such a line

    def __init__(self, bytes schema, widths):
        self.schema = schema
        self.columns = len(widths)
        assert self.columns <= COLUMNS, "a topic has too many columns"
        self.texts = 0
        for column, width in enumerate(widths):
            self.width[column] = width
            self.texts += width == 0
        self.message = layout.record_batch(self.columns, 2 * self.columns)
        self.dictionaries = [layout.dictionary_batch(number) for number in range(self.texts)]
        self.dtype = None

    def write(self, batch, Py_ssize_t by, const int32_t[::1] chosen, Py_ssize_t parts):
        """reference.streams: [(part, stream)]; None where a text is null."""
        _, capsule = batch.__arrow_c_array__()
        cdef const ArrowArray* rows = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
        cdef Py_ssize_t column, part, first, size = rows.length
        cdef int32_t* order
        cdef list streams = []
        assert rows.n_children == self.columns and rows.offset == 0
        for column in range(self.columns):
            if self.width[column]:
                continue
            if has_null(rows.children[column]) or has_null(rows.children[column].dictionary):
                return None
        bounds = self._sort(rows, by, chosen, parts)
        order = <int32_t*>ORDER.data
        for part in range(parts):
            first, last = bounds[part], bounds[part + 1]
            if last - first == size and size:
                streams.append((part, self._stream(rows, NULL, size)))
            elif last > first:
                streams.append((part, self._stream(rows, order + first, last - first)))
        return streams

    cdef list _sort(
        self, const ArrowArray* rows, Py_ssize_t by, const int32_t[::1] chosen, Py_ssize_t parts
    ):
        """Where each part begins in ORDER, which becomes the rows by part."""
        cdef Py_ssize_t row, size = rows.length, total = 0
        cdef const int32_t* codes = NULL
        cdef int32_t part
        cdef int32_t* order = <int32_t*>reserved(&ORDER, 4 * size)
        cdef int64_t[PARTS] next
        assert parts <= PARTS, "a topic has too many partitions"
        if by < 0:
            return [0, *([size] * parts)]
        memset(next, 0, sizeof(next))
        codes = codes_of(rows.children[by])
        for row in range(size):
            if not 0 <= codes[row] < chosen.shape[0]:
                raise IndexError(f"a row names text {codes[row]} of {chosen.shape[0]}")
            part = chosen[codes[row]]
            if not 0 <= part < parts:
                raise IndexError(f"a text is of part {part} of {parts}")
            next[part] += 1
        bounds = [0]
        for part in range(parts):
            next[part], total = total, total + next[part]
            bounds.append(total)
        for row in range(size):
            part = chosen[codes[row]]
            order[next[part]] = <int32_t>row
            next[part] += 1
        return bounds

    cdef bytes _stream(self, const ArrowArray* rows, const int32_t* order, Py_ssize_t size):
        """One stream of these rows; order NULL: all of them."""
        cdef char* out = reserved(&ARENA, self._most(rows, size))
        cdef char* at = out
        cdef Py_ssize_t column, nulls, text = 0
        cdef const ArrowArray* child
        cdef const char* values
        cdef int width
        cdef Body body
        reserved(&CODES, 4 * size * (self.texts + 1))
        reserved(&SCRATCH, 8 * size)
        memcpy(at, PyBytes_AS_STRING(self.schema), PyBytes_GET_SIZE(self.schema))
        at += PyBytes_GET_SIZE(self.schema)
        for column in range(self.columns):
            if self.width[column] == 0:
                at = self._dictionary(at, text, rows.children[column], order, size)
                text += 1
        text = 0
        begun(&body, at, self.message, size)
        for column in range(self.columns):
            child = rows.children[column]
            width = self.width[column]
            nulls = 0
            if width and has_null(child):
                nulls = absent(child, order, size, <uint8_t*>reserved(&VALID, (size + 7) // 8))
            node(at, self.message, column, size, nulls)
            add(&body, VALID.data, (size + 7) // 8 if nulls else 0, 4)
            if width == 0:
                width = 4
                values = CODES.data + 4 * size * text
                text += 1
            else:
                values = <const char*>child.buffers[1] + width * child.offset
                if order != NULL:
                    gather(values, order, size, width, SCRATCH.data)
                    values = SCRATCH.data
                if nulls:
                    memmove(SCRATCH.data, values, width * size)
                    values = SCRATCH.data
                    blank(SCRATCH.data, <const uint8_t*>VALID.data, size, width)
            add(&body, values, width * size, width)
        at = finished(at, self.message, &body)
        memcpy(at, PyBytes_AS_STRING(END), PyBytes_GET_SIZE(END))
        at += PyBytes_GET_SIZE(END)
        return PyBytes_FromStringAndSize(out, at - out)

    cdef Py_ssize_t _most(self, const ArrowArray* rows, Py_ssize_t size) except -1:
        """Bytes that a stream of so many of the rows cannot be more than."""
        cdef Py_ssize_t column, most = PyBytes_GET_SIZE(self.schema) + PyBytes_GET_SIZE(END)
        cdef const ArrowArray* texts
        most += len(self.message.bytes)
        for column in range(self.columns):
            most += self.width[column] * size + SPARE
            most += size // 8 + SPARE  # which are null
            if self.width[column] == 0:
                texts = rows.children[column].dictionary
                most += 4 * size + 4 * (texts.length + 1) + text_bytes(texts) + 512
        return most

    cdef char* _dictionary(
        self, char* at, Py_ssize_t text, const ArrowArray* column, const int32_t* order,
        Py_ssize_t size,
    ) except NULL:
        """The message of the texts that these rows have, by first use; their codes go to CODES."""
        cdef const ArrowArray* texts = column.dictionary
        cdef const int32_t* given = codes_of(column)
        cdef const int32_t* ends = <const int32_t*>texts.buffers[1] + texts.offset
        cdef const char* data = <const char*>texts.buffers[2]
        cdef Py_ssize_t known = texts.length, row
        cdef int32_t* place = <int32_t*>reserved(&PLACES, 4 * known)
        cdef int32_t* codes = <int32_t*>CODES.data + size * text
        cdef int32_t* used = <int32_t*>CODES.data + size * self.texts
        cdef int32_t found = 0, code, i, at_place
        cdef int32_t* offsets
        cdef char* letters
        cdef Body body
        memset(place, 0, 4 * known)
        if order == NULL:
            memcpy(codes, given, 4 * size)
        else:
            gather(<const char*>given, order, size, 4, <char*>codes)
        for row in range(size):
            code = codes[row]
            if not 0 <= code < known:
                raise IndexError(f"a row names text {code} of {known}")
            at_place = place[code]
            if at_place == 0:
                used[found] = code
                found += 1
                place[code] = at_place = found
            codes[row] = at_place - 1
        offsets = <int32_t*>reserved(&TEXTS, 4 * (found + 1) + text_bytes(texts))
        letters = <char*>(offsets + found + 1)
        offsets[0] = 0
        for i in range(found):
            code = used[i]
            memcpy(letters + offsets[i], data + ends[code], ends[code + 1] - ends[code])
            offsets[i + 1] = offsets[i] + ends[code + 1] - ends[code]
        return self._texts(at, text, offsets, letters, found)

    cdef char* _texts(
        self, char* at, Py_ssize_t text, const int32_t* offsets, const char* letters, int32_t found
    ) except NULL:
        cdef Body body
        message = self.dictionaries[text]
        begun(&body, at, message, found)
        node(at, message, 0, found, 0)
        entry(&body, 0)
        add(&body, <const char*>offsets, 4 * (found + 1), 4)
        add(&body, letters, offsets[found], 4)
        return finished(at, message, &body)

    def lines(self, list parts, Texts texts):
        """reference.lines: one stream of the lines of all parts."""
        cdef Py_ssize_t[COLUMNS] start  # of each column in COLUMNS_OF
        cdef int32_t[COLUMNS] found
        cdef Py_ssize_t column, text = 0, size = 0, done = 0, at = 0, most, known = 0
        cdef int32_t* codes
        cdef int32_t* used
        cdef int32_t* offsets
        cdef cnp.ndarray part
        cdef char* out
        cdef char* to
        cdef int width
        cdef Body body
        for part in parts:
            size += len(part)
        for column in range(self.columns):
            start[column] = at
            at += (self.width[column] or 4) * size
        cdef char* turned = reserved(&COLUMNS_OF, at)
        for part in parts:
            self._turn(part, turned, start, done)
            done += len(part)
        used = <int32_t*>reserved(&USED, 4 * size * self.texts)
        most = PyBytes_GET_SIZE(self.schema) + PyBytes_GET_SIZE(END) + at
        most += PyBytes_GET_SIZE(self.message.bytes) + SPARE * self.columns
        for column in range(self.columns):
            if self.width[column] == 0:
                codes = <int32_t*>(turned + start[column])
                check_indices(codes, size, texts.count)
                found[text] = <int32_t>texts.renumber(codes, size, used + size * text)
                at = texts.length(used + size * text, found[text])
                known = max(known, 4 * (found[text] + 1) + at + SLACK)
                most += 4 * (found[text] + 1) + at + 512
                text += 1
        offsets = <int32_t*>reserved(&TEXTS, known)
        out = to = reserved(&ARENA, most)
        memcpy(to, PyBytes_AS_STRING(self.schema), PyBytes_GET_SIZE(self.schema))
        to += PyBytes_GET_SIZE(self.schema)
        for text in range(self.texts):
            texts.write(
                used + size * text, found[text], offsets, <char*>(offsets + found[text] + 1)
            )
            to = self._texts(to, text, offsets, <char*>(offsets + found[text] + 1), found[text])
        begun(&body, to, self.message, size)
        for column in range(self.columns):
            node(to, self.message, column, size, 0)
            entry(&body, 0)
            width = self.width[column] or 4
            add(&body, turned + start[column], width * size, width)
        to = finished(to, self.message, &body)
        memcpy(to, PyBytes_AS_STRING(END), PyBytes_GET_SIZE(END))
        to += PyBytes_GET_SIZE(END)
        return PyBytes_FromStringAndSize(out, to - out)

    cdef int _turn(
        self, cnp.ndarray lines, char* turned, const Py_ssize_t* start, Py_ssize_t done
    ) except -1:
        """Each column of the lines, from its row `done` on."""
        cdef const char* first = <const char*>cnp.PyArray_DATA(lines)
        cdef Py_ssize_t row = 0, column, count, size = len(lines), step = lines.strides[0]
        cdef int width
        if lines.dtype is not self.dtype:
            self.dtype = lines.dtype
            fields = [lines.dtype.fields[name] for name in lines.dtype.names]
            for column, (_, at) in enumerate(fields):
                self.place[column] = at
        while row < size:
            count = min(TURNED, size - row)
            for column in range(self.columns):
                width = self.width[column] or 4
                strided(
                    first + row * step + self.place[column], step, count, width,
                    turned + start[column] + width * (done + row),
                )
            row += count
        return 0


cdef void strided(
    const char* first, Py_ssize_t step, Py_ssize_t size, int width, char* out
) noexcept nogil:
    cdef Py_ssize_t i
    if width == 8:
        for i in range(size):
            memcpy(out + 8 * i, first + i * step, 8)
    else:
        for i in range(size):
            memcpy(out + 4 * i, first + i * step, 4)


cdef Py_ssize_t text_bytes(const ArrowArray* texts) noexcept nogil:
    cdef const int32_t* ends = <const int32_t*>texts.buffers[1] + texts.offset
    return ends[texts.length] - ends[0] if texts.length else 0


cdef int begun(Body* body, char* at, message, Py_ssize_t rows) except -1:
    """The message's metadata at `at`, and an empty body behind it."""
    cdef bytes made = message.bytes
    memcpy(at, PyBytes_AS_STRING(made), PyBytes_GET_SIZE(made))
    put(at + <Py_ssize_t>message.rows, rows)
    body.start = body.at = at + PyBytes_GET_SIZE(made)
    body.entry = at + <Py_ssize_t>message.buffers
    return 0


cdef int node(char* at, message, Py_ssize_t number, Py_ssize_t rows, Py_ssize_t nulls) except -1:
    put(at + <Py_ssize_t>message.nodes + NODE * number, rows)
    put(at + <Py_ssize_t>message.nodes + NODE * number + 8, nulls)
    return 0


cdef Py_ssize_t absent(
    const ArrowArray* column, const int32_t* order, Py_ssize_t size, uint8_t* valid
) noexcept nogil:
    """How many of these rows are null; `valid` has a bit set for every other one."""
    cdef const uint8_t* given = <const uint8_t*>column.buffers[0]
    cdef Py_ssize_t i, at, nulls = 0
    memset(valid, 0, (size + 7) // 8)
    for i in range(size):
        at = column.offset + (order[i] if order != NULL else i)
        if given[at >> 3] >> (at & 7) & 1:
            valid[i >> 3] |= <uint8_t>(1 << (i & 7))
        else:
            nulls += 1
    return nulls


cdef void blank(char* values, const uint8_t* valid, Py_ssize_t size, int width) noexcept nogil:
    """Zeros where nothing is: equal rows give equal bytes."""
    cdef Py_ssize_t i
    for i in range(size):
        if not valid[i >> 3] >> (i & 7) & 1:
            memset(values + i * width, 0, width)


cdef char* finished(char* at, message, const Body* body) except NULL:
    put(at + <Py_ssize_t>message.body_bytes, body.at - body.start)
    return body.at


cdef void gather(
    const char* values, const int32_t* order, Py_ssize_t size, int width, char* out
) noexcept nogil:
    cdef Py_ssize_t i
    if width == 8:
        for i in range(size):
            (<int64_t*>out)[i] = (<const int64_t*>values)[order[i]]
    else:
        for i in range(size):
            (<int32_t*>out)[i] = (<const int32_t*>values)[order[i]]
