/* What a decoder holds, and all of a row's parsing that is rare: one copy for every machine.

   fields   what is wanted, in the order in which a row's first fault is looked for
   tokens   place in the row -> `"key":` as the row before had it there, and its field */
#ifndef GRIDLOOM_DECODER_H
#define GRIDLOOM_DECODER_H

#include "_number.h"
#include "_texts.h"

#define FIELDS_MAX 64
#define TOKENS_MAX 64
#define TOKEN_MAX 32  /* bytes of a key with quotes and colon that is predicted */
#define DEPTH_MAX 64  /* of nested values that are skipped; deeper rows are declined */
#define CHARACTERS_MAX 1000

enum { TEXT = 0, INTEGER = 1, NUMBER = 2, DECIMAL = 3 };
enum { GOOD = 0, BAD = 1, DECLINED = 2 };
/* places in layout.REASONS */
enum { NO_FAULT, NOT_JSON, MISSING, WRONG_TYPE, UNKNOWN_VALUE, NEGATIVE, OVERFLOWS };

typedef struct {
    const byte *name;
    int32_t size;
    int32_t kind;
    int64_t maximum;    /* INTEGER */
    uint64_t listed;    /* TEXT: codes that are allowed, 0 = any */
    void *out;          /* int32 codes, int64 integers or mantissas, float64 numbers */
    int8_t *exponents;  /* DECIMAL */
    byte *valid;        /* optional fields */
    Entry last;         /* TEXT: as the row before had it */
    int32_t last_code;
} Field;

typedef struct {
    uint64_t word[4], mask[4];
    int32_t size, field;
} Token;

/* Templates (see _template.h). */
#define TEMPLATES 4
#define STEPS_MAX 48
#define LITERALS_MAX 1024
#define HABIT_MAX 32

enum {
    STEP_TEXT,
    STEP_INTEGER,
    STEP_NUMBER,
    STEP_DECIMAL_TEXT,
    STEP_SKIPPED_TEXT,
    STEP_SKIPPED,
    STEP_END
};

typedef struct {
    int32_t kind, literal, size; /* literal: its place in the template's bytes */
    int32_t blocks;              /* of 32 bytes, but for the last */
    uint32_t beyond;             /* bits of the last block behind the literal's end */
    Field *field;
} Step;

typedef struct {
    Field *field;
    int32_t code;
} Constant;

typedef struct {
    const byte *start, *end;
    int32_t field;
} Value;

typedef struct {
    int32_t size;
    byte varies, bytes[HABIT_MAX];
} Habit;

typedef struct {
    uint64_t layout;                     /* of the rows it fits: keys, blanks, their order */
    int64_t used;                        /* when, in rows */
    int32_t count, size, constant_count; /* count 0: none */
    Step steps[STEPS_MAX + 1];
    Constant constants[FIELDS_MAX];
    byte bytes[LITERALS_MAX + PAD];
    Habit habits[STEPS_MAX];
} Template;

typedef struct {
    int64_t start, end;  /* bytes of the buffer */
    int32_t message, line;
} Place;

typedef struct {
    Place place;
    byte verdict, reason;
    int16_t field;  /* -1: the whole row */
} Refused;

typedef struct {
    Field fields[FIELDS_MAX];
    int32_t field_count;
    uint64_t required;
    Token tokens[TOKENS_MAX];
    Template templates[TEMPLATES];
    int32_t likely;  /* the template that fitted last */
    Value values[STEPS_MAX];
    int32_t wait, hits, misses;
    int64_t rows;
    Texts *texts;
    byte *scratch;  /* a text without its escapes */
    int64_t scratch_size, scratch_room;
    int64_t good, room;  /* rows in the columns, and how many fit */
    Place *places;       /* of the good rows */
    Refused *refused;
    int64_t refused_count, refused_room;
    byte verdict, reason;  /* of the row that was read last */
    int16_t field;
    byte no_memory, begun; /* begun: a template has written to the row's place */
} Decoder;

static const byte *fails(Decoder *d, byte verdict, byte reason) {
    d->verdict = verdict;
    d->reason = reason;
    d->field = -1;
    return NULL;
}
#define BROKEN(d) fails(d, BAD, NOT_JSON)
#define DECLINE(d) fails(d, DECLINED, NO_FAULT)

static const byte *exhausted(Decoder *d) {
    d->no_memory = 1;
    return DECLINE(d);
}

static int scratch_put(Decoder *d, const byte *p, int64_t size) {
    if (d->scratch_size + size + PAD > d->scratch_room) {
        int64_t room = 2 * (d->scratch_size + size + PAD);
        byte *bigger = realloc(d->scratch, (size_t)room);
        if (!bigger) return 0;
        d->scratch = bigger;
        d->scratch_room = room;
    }
    memcpy(d->scratch + d->scratch_size, p, (size_t)size);
    d->scratch_size += size;
    return 1;
}

static int hex4(const byte *p) {
    int unit = 0;
    for (int i = 0; i < 4; i++) {
        byte c = p[i], lower = c | 0x20;
        if ((byte)(c - '0') <= 9) unit = 16 * unit + (c - '0');
        else if ('a' <= lower && lower <= 'f') unit = 16 * unit + (lower - 'a' + 10);
        else return -1;
    }
    return unit;
}

/* The escape at p (behind the backslash) to UTF-8; its size read, 0 where it is none. */
static int unescape(const byte *p, byte *to, int *written) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    *written = 1;
    if (*p != 'u') {
        const char *found = *p ? strchr(names, *p) : NULL;
        if (!found) return 0;
        to[0] = (byte)values[found - names];
        return 1;
    }
    int size = 5, unit = hex4(p + 1);
    uint32_t point = (uint32_t)unit;
    if (unit < 0 || (unit & 0xFC00) == 0xDC00) return 0;
    if ((unit & 0xFC00) == 0xD800) {
        int low = p[5] == '\\' && p[6] == 'u' ? hex4(p + 7) : -1;
        if (low < 0 || (low & 0xFC00) != 0xDC00) return 0;
        point = 0x10000 + (((uint32_t)unit & 0x3FF) << 10) + ((uint32_t)low & 0x3FF);
        size = 11;
    }
    if (point < 0x80) {
        to[0] = (byte)point;
    } else if (point < 0x800) {
        to[0] = (byte)(0xC0 | point >> 6);
        to[1] = (byte)(0x80 | (point & 0x3F));
        *written = 2;
    } else if (point < 0x10000) {
        to[0] = (byte)(0xE0 | point >> 12);
        to[1] = (byte)(0x80 | (point >> 6 & 0x3F));
        to[2] = (byte)(0x80 | (point & 0x3F));
        *written = 3;
    } else {
        to[0] = (byte)(0xF0 | point >> 18);
        to[1] = (byte)(0x80 | (point >> 12 & 0x3F));
        to[2] = (byte)(0x80 | (point >> 6 & 0x3F));
        to[3] = (byte)(0x80 | (point & 0x3F));
        *written = 4;
    }
    return size;
}

/* The rest of a string, from a place that is not plain text, into the scratch; behind its quote. */
static const byte *rough_string(Decoder *d, const byte *start, const byte *p, const byte *end) {
    d->scratch_size = 0;
    if (!scratch_put(d, start, p - start)) return exhausted(d);
    while (p < end) {
        byte c = *p, text[4];
        int size = 1, written = 1;
        if (c == '"') {
            memset(d->scratch + d->scratch_size, 0, PAD);
            return p + 1;
        }
        if (c < 0x20) return BROKEN(d);
        if (c == '\\') {
            if (!(size = unescape(p + 1, text, &written))) return BROKEN(d);
            if (!scratch_put(d, text, written)) return exhausted(d);
            p += size + 1;
            continue;
        }
        if (c >= 0x80) {
            if (!(size = utf8_size(p))) return BROKEN(d);
        } else {
            const byte *plain = special_scalar(p, end);
            size = (int)((plain < end ? plain : end) - p);
        }
        if (!scratch_put(d, p, size)) return exhausted(d);
        p += size;
    }
    return BROKEN(d);
}

/* A string, behind its opening quote, that is only checked. */
static const byte *skip_string(Decoder *d, const byte *p, const byte *end) {
    const byte *q = special_scalar(p, end);
    if (q >= end) return BROKEN(d);
    return *q == '"' ? q + 1 : rough_string(d, p, q, end);
}

static const byte *skip_value(Decoder *d, const byte *p, const byte *end, int depth);

static const byte *skip_literal(Decoder *d, const byte *p, const byte *end) {
    static const struct { const char *text; int size; } literals[] = {
        {"true", 4}, {"false", 5}, {"null", 4}};
    for (int i = 0; i < 3; i++)
        if (end - p >= literals[i].size && !memcmp(p, literals[i].text, (size_t)literals[i].size))
            return p + literals[i].size;
    return BROKEN(d);
}

static const byte *skip_number(Decoder *d, const byte *p, const byte *end) {
    Number n;
    if (!(p = number(p, end, &n)) || p > end) return BROKEN(d);
    return is_finite_number(&n) ? p : DECLINE(d);
}

/* An array or object, from its bracket on. */
static const byte *skip_nested(Decoder *d, const byte *p, const byte *end, int depth) {
    byte close = *p == '{' ? '}' : ']';
    if (depth >= DEPTH_MAX) return DECLINE(d);
    p = skip_blanks(p + 1, end);
    if (p < end && *p == close) return p + 1;
    for (;;) {
        if (close == '}') {
            if (p >= end || *p != '"') return BROKEN(d);
            if (!(p = skip_string(d, p + 1, end))) return NULL;
            p = skip_blanks(p, end);
            if (p >= end || *p != ':') return BROKEN(d);
            p = skip_blanks(p + 1, end);
        }
        if (!(p = skip_value(d, p, end, depth + 1))) return NULL;
        p = skip_blanks(p, end);
        if (p >= end) return BROKEN(d);
        if (*p == close) return p + 1;
        if (*p != ',') return BROKEN(d);
        p = skip_blanks(p + 1, end);
    }
}

static const byte *skip_value(Decoder *d, const byte *p, const byte *end, int depth) {
    if (p >= end) return BROKEN(d);
    if (*p == '"') return skip_string(d, p + 1, end);
    if (*p == '-' || (byte)(*p - '0') <= 9) return skip_number(d, p, end);
    if (*p == '{' || *p == '[') return skip_nested(d, p, end, depth);
    return skip_literal(d, p, end);
}

/* The field of a key; -1 where it is not wanted. */
static int32_t field_of(const Decoder *d, const byte *name, int64_t size) {
    for (int32_t i = 0; i < d->field_count; i++)
        if (d->fields[i].size == size && !memcmp(d->fields[i].name, name, (size_t)size)) return i;
    return -1;
}

/* A key that was not predicted, from its quote to behind its colon; the next row's prediction. */
static const byte *read_key(
    Decoder *d, const byte *p, const byte *end, Token *token, int32_t *field) {
    const byte *start = p;
    if (*p != '"') return BROKEN(d);
    const byte *q = special_scalar(p + 1, end);
    if (q >= end) return BROKEN(d);
    if (*q != '"') {
        if (!(p = rough_string(d, p + 1, q, end))) return NULL;
        *field = field_of(d, d->scratch, d->scratch_size);
        p = skip_blanks(p, end);
        return p < end && *p == ':' ? p + 1 : BROKEN(d);
    }
    *field = field_of(d, p + 1, q - p - 1);
    p = skip_blanks(q + 1, end);
    if (p >= end || *p != ':') return BROKEN(d);
    p++;
    if (p - start <= TOKEN_MAX) {
        token->size = (int32_t)(p - start);
        token->field = *field;
        for (int i = 0; i < 4; i++) {
            token->mask[i] = low_bytes(token->size - 8 * i);
            token->word[i] = load8(start + 8 * i) & token->mask[i];
        }
    }
    return p;
}

/* A field's fault after its text was read, for texts that are longer than most. */
static byte long_fault(const byte *p, int64_t size) {
    int64_t characters = 0;
    for (int64_t i = 0; i < size; i++) characters += (p[i] & 0xC0) != 0x80;
    return characters > CHARACTERS_MAX ? OVERFLOWS : NO_FAULT;
}

/* Whether the row may hold NaN or Infinity, in whatever encoding: orjson's twin says which. */
static int may_be_not_finite(const byte *p, const byte *end) {
    return memchr(p, 'N', (size_t)(end - p)) || memchr(p, 'I', (size_t)(end - p));
}

static void note_refused(Decoder *d, Place place) {
    if (d->refused_count == d->refused_room) {
        int64_t room = 2 * d->refused_room + 64;
        Refused *bigger = realloc(d->refused, (size_t)room * sizeof(Refused));
        if (!bigger) {
            d->no_memory = 1;
            return;
        }
        d->refused = bigger;
        d->refused_room = room;
    }
    Refused *refused = &d->refused[d->refused_count++];
    refused->place = place;
    refused->verdict = d->verdict;
    refused->reason = d->reason;
    refused->field = d->field;
}

/* An optional field at the place of the next row: as if it had never been written. */
static void clear(Decoder *d, Field *field) {
    if (!field->valid) return;
    field->valid[d->good] = 0;
    if (field->kind == TEXT) ((int32_t *)field->out)[d->good] = 0;
    else ((int64_t *)field->out)[d->good] = 0;
    if (field->exponents) field->exponents[d->good] = 0;
}

#endif
