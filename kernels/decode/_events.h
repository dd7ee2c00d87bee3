/* The loop over events, compiled once for each way to look for the end of a string.

   Included with NAME(x), TARGET, WIDE and SPECIAL(p, end) set. One event is one pass over its bytes:
   keys are compared with those that the row before had in the same places, texts with the row
   before's, numbers are read eight digits at a time. */

/* Whether the bytes at p are the step's literal. Both may be read 32 bytes beyond. */
TARGET INLINE int NAME(matches)(const byte *p, const byte *literal, const Step *step) {
#if WIDE
    for (int32_t left = step->blocks; left; left--, p += 32, literal += 32) {
        __m256i same = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)p),
                                         _mm256_loadu_si256((const __m256i *)literal));
        if (_mm256_movemask_epi8(same) != -1) return 0;
    }
    __m256i same = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)p),
                                     _mm256_loadu_si256((const __m256i *)literal));
    return ((uint32_t)_mm256_movemask_epi8(same) | step->beyond) == 0xFFFFFFFF;
#else
    int32_t size = step->size;
    for (; size > 8; size -= 8, p += 8, literal += 8)
        if (load8(p) != load8(literal)) return 0;
    return ((load8(p) ^ load8(literal)) & low_bytes(size)) == 0;
#endif
}

/* A number of at most 15 digits without sign and exponent; NULL: the general one has to look. */
TARGET INLINE const byte *NAME(plain_number)(const byte *p, const byte *end, Number *n) {
#if WIDE
    __m128i digits = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi8('0'));
    uint32_t others = ~(uint32_t)_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits));
    int whole = __builtin_ctz(others); /* bits 16 on are set */
    int size = whole;
    n->exponent = 0;
    n->is_float = 0;
    if (p[whole] == '.') {
        others &= others - 1;
        size = __builtin_ctz(others) - 1; /* digits without the point */
        n->exponent = whole - size;
        n->is_float = 1;
        digits = _mm_shuffle_epi8(
            digits, _mm_loadu_si128((const __m128i *)WITHOUT_POINT[whole & 15]));
    }
    const byte *stop = p + size + n->is_float;
    if (UNLIKELY(size > 15 - n->is_float || whole == 0 || (n->is_float && size == whole) || (*p == '0' && whole > 1) ||
                 (*stop | 0x20) == 'e' || stop > end))
        return NULL;
    digits = _mm_shuffle_epi8(digits, _mm_loadu_si128((const __m128i *)(TO_THE_RIGHT + size)));
    digits = _mm_maddubs_epi16(digits, _mm_set1_epi16(0x010A));            /* 10, 1 */
    digits = _mm_madd_epi16(digits, _mm_set1_epi32(0x00010064));           /* 100, 1 */
    digits = _mm_packus_epi32(digits, digits);
    digits = _mm_madd_epi16(digits, _mm_set1_epi32(0x00012710));           /* 10000, 1 */
    uint64_t halves = (uint64_t)_mm_cvtsi128_si64(digits);
    n->mantissa = (halves & 0xFFFFFFFF) * 100000000 + (halves >> 32);
    n->digits = size;
    n->is_negative = 0;
    return stop;
#else
    p = number(p, end, n);
    return p && p <= end && !n->is_negative && n->digits <= 15 && n->exponent >= -15 &&
                   n->exponent <= 0
               ? p
               : NULL;
#endif
}

/* A text's code into the field's column; behind its closing quote. is_guessed: it may well be the
   text of the row before. */
TARGET INLINE const byte *NAME(text)(
    Decoder *d, Field *field, const byte *p, const byte *end, byte *fault, const int is_guessed) {
    const byte *q = SPECIAL(p, end), *start = p;
    int64_t size = q - p;
    if (q >= end) return BROKEN(d);
    if (LIKELY(*q == '"')) {
        p = q + 1;
    } else {
        if (!(p = rough_string(d, p, q, end))) return NULL;
        start = d->scratch;
        size = d->scratch_size;
    }
    *fault = NO_FAULT;
    if (size == 0) {
        *fault = MISSING; /* empty is absent, whether the field is required or not */
        return p;
    }
    if (UNLIKELY(size > CHARACTERS_MAX)) {
        if (size > INT32_MAX / 2) return DECLINE(d);
        if ((*fault = long_fault(start, size))) return p;
    }
    Entry text = entry_of(start, size);
    int32_t code = field->last_code;
    if (!is_guessed || size > 24 || !same_entry(&text, &field->last)) {
        code = texts_code(d->texts, &text, start);
        if (code < 0) return code == NO_MEMORY ? exhausted(d) : DECLINE(d);
        if (is_guessed) {
            field->last = text;
            field->last_code = code;
        }
    }
    if (field->listed && (code >= 64 || !(field->listed >> code & 1))) *fault = UNKNOWN_VALUE;
    ((int32_t *)field->out)[d->good] = code;
    return p;
}

TARGET INLINE const byte *NAME(number)(
    Decoder *d, Field *field, const byte *p, const byte *end, byte *fault) {
    Number n;
    const byte *start = p;
    if (!(p = number(p, end, &n)) || p > end) return BROKEN(d);
    *fault = NO_FAULT;
    if (field->kind == INTEGER) {
        if (n.is_float) {
            if (!is_finite_number(&n)) return DECLINE(d);
            *fault = WRONG_TYPE;
        } else if (!is_exact(&n)) {
            return DECLINE(d);
        } else if (n.is_negative && n.mantissa) {
            *fault = NEGATIVE;
        } else if ((int64_t)n.mantissa > field->maximum) {
            *fault = OVERFLOWS;
        }
        ((int64_t *)field->out)[d->good] = (int64_t)n.mantissa;
        return p;
    }
    if (field->kind == NUMBER)
        return to_float(&n, start, p, (double *)field->out + d->good) ? p : DECLINE(d);
    if (field->kind == DECIMAL) {
        if (!to_decimal(&n, start, p) || !is_in_reach(&n)) return DECLINE(d);
        int64_t mantissa = (int64_t)n.mantissa;
        ((int64_t *)field->out)[d->good] = n.is_negative ? -mantissa : mantissa;
        field->exponents[d->good] = (int8_t)(mantissa ? n.exponent : 0);
        return p;
    }
    if (!is_finite_number(&n)) return DECLINE(d);
    *fault = WRONG_TYPE;
    return p;
}

/* A field's value at p into its column. */
TARGET INLINE const byte *NAME(value)(
    Decoder *d, Field *field, const byte *p, const byte *end, byte *fault, int *is_null) {
    *is_null = 0;
    if (*p == '"') {
        if (field->kind == TEXT) return NAME(text)(d, field, p + 1, end, fault, 1);
        if (field->kind == DECIMAL) {
            Number n;
            const byte *quote = decimal_text(p + 1, end, &n);
            if (UNLIKELY(!quote || quote >= end || !is_in_reach(&n)))
                return skip_string(d, p + 1, end) ? DECLINE(d) : NULL;
            int64_t mantissa = (int64_t)n.mantissa;
            ((int64_t *)field->out)[d->good] = n.is_negative ? -mantissa : mantissa;
            field->exponents[d->good] = (int8_t)(mantissa ? n.exponent : 0);
            *fault = NO_FAULT;
            return quote + 1;
        }
        *fault = WRONG_TYPE;
        return skip_string(d, p + 1, end);
    }
    if ((byte)(*p - '0') <= 9 || *p == '-') return NAME(number)(d, field, p, end, fault);
    *is_null = *p == 'n';
    *fault = WRONG_TYPE;
    return skip_value(d, p, end, 1);
}

/* The same, out of the way of the quick path. */
TARGET static APART const byte *NAME(any_value)(
    Decoder *d, Field *field, const byte *p, const byte *end, byte *fault, int *is_null) {
    return p < end ? NAME(value)(d, field, p, end, fault, is_null) : NULL;
}

/* One object by the template; NULL: it differs, or has a fault, and the general loop must look. */
TARGET static APART const byte *NAME(by_template)(
    Decoder *d, const Template *t, const byte *p, const byte *end) {
    const int64_t row = d->good;
    d->begun = 0;
    for (const Step *step = t->steps;; step++) {
        Number n;
        Field *field = step->field;
        if (UNLIKELY(step->size > end - p) ||
            !NAME(matches)(p, t->bytes + step->literal, step))
            return NULL;
        p += step->size;
        d->begun = 1;
        if (step->kind == STEP_TEXT) {
            byte fault;
            p = NAME(text)(d, field, p, end, &fault, 0);
            if (UNLIKELY(!p || fault)) return NULL;
            p--;
        } else if (step->kind == STEP_INTEGER) {
            p = NAME(plain_number)(p, end, &n);
            if (UNLIKELY(!p || n.is_float || (int64_t)n.mantissa > field->maximum)) return NULL;
            ((int64_t *)field->out)[row] = (int64_t)n.mantissa;
        } else if (step->kind == STEP_NUMBER) {
            const byte *start = p;
            p = NAME(plain_number)(start, end, &n);
            if (LIKELY(p != NULL)) {
                if (field->kind == DECIMAL) {
                    ((int64_t *)field->out)[row] = (int64_t)n.mantissa;
                    field->exponents[row] = (int8_t)(n.mantissa ? n.exponent : 0);
                } else {
                    ((double *)field->out)[row] = (double)n.mantissa / FLOAT_POWERS[-n.exponent];
                }
            } else {
                byte fault;
                int is_null;
                p = NAME(any_value)(d, field, start, end, &fault, &is_null);
                if (!p || fault || is_null) return NULL;
            }
        } else if (step->kind == STEP_END) {
            break;
        } else if (step->kind == STEP_SKIPPED_TEXT) {
            if (!(p = skip_string(d, p, end))) return NULL;
            p--;
            continue;
        } else if (step->kind == STEP_DECIMAL_TEXT) {
            byte fault;
            int is_null;
            p = NAME(any_value)(d, field, p, end, &fault, &is_null);
            if (!p || fault || is_null) return NULL;
        } else {
            if (!(p = skip_value(d, p, end, 1))) return NULL;
            continue;
        }
        if (field->valid) field->valid[row] = 1;
    }
    for (int32_t i = 0; i < t->constant_count; i++) {
        Field *field = t->constants[i].field;
        ((int32_t *)field->out)[row] = t->constants[i].code;
        if (field->valid) field->valid[row] = 1;
    }
    p = skip_blanks(p, end);
    return p == end || *p == '\n' ? p : NULL;
}

/* One object by the general loop, from its brace to behind its closing one; NULL: d->verdict says why not. */
TARGET static APART const byte *NAME(event)(Decoder *d, const byte *p, const byte *end) {
    uint64_t seen = 0, faulty = 0, twice = 0;
    byte faults[FIELDS_MAX];
    Token *token = d->tokens;
    int32_t place = 0;
    const byte *start = p, *from;
    p = skip_blanks(p + 1, end);
    if (p < end && *p == '}') {
        p++;
        goto closed;
    }
    for (;;) {
        int32_t at;
        uint64_t differs;
        if (UNLIKELY(p >= end)) return BROKEN(d);
        differs = ((load8(p) & token->mask[0]) ^ token->word[0]) |
                  ((load8(p + 8) & token->mask[1]) ^ token->word[1]);
        if (token->size > 16)
            differs |= ((load8(p + 16) & token->mask[2]) ^ token->word[2]) |
                       ((load8(p + 24) & token->mask[3]) ^ token->word[3]);
        if (LIKELY(!differs && token->size)) {
            at = token->field;
            p += token->size;
        } else if (!(p = read_key(d, p, end, token, &at))) {
            return NULL;
        }
        if (token < d->tokens + TOKENS_MAX - 1) token++;
        if (*p == ' ' || *p == '\t' || *p == '\r') p = skip_blanks(p, end);
        if (UNLIKELY(p >= end)) return BROKEN(d);
        from = p;
        if (at < 0) {
            if (!(p = skip_value(d, p, end, 1))) return NULL;
        } else {
            Field *field = &d->fields[at];
            uint64_t bit = 1ull << at;
            twice |= seen & bit;
            byte fault;
            int is_null;
            if (!(p = NAME(value)(d, field, p, end, &fault, &is_null))) return NULL;
            if (UNLIKELY(is_null)) {
                seen &= ~bit;
                faulty &= ~bit;
                clear(d, field);
            } else {
                seen |= bit;
                faults[at] = fault;
                faulty = (faulty & ~bit) | ((uint64_t)(fault != NO_FAULT) << at);
                if (field->valid) field->valid[d->good] = 1;
            }
        }
        note_value(d, place++, from, p, at);
        if (*p != ',' && *p != '}') p = skip_blanks(p, end);
        if (UNLIKELY(p >= end)) return BROKEN(d);
        if (*p == ',') {
            p++;
            if (*p != '"') p = skip_blanks(p, end);
            continue;
        }
        if (*p++ != '}') return BROKEN(d);
        break;
    }
closed:
    from = p;
    p = skip_blanks(p, end);
    if (p != end && *p != '\n') return BROKEN(d); /* something behind the object */
    faulty |= d->required & ~seen;
    if (UNLIKELY(faulty)) {
        int first = __builtin_ctzll(faulty);
        d->verdict = BAD;
        d->field = (int16_t)first;
        d->reason = seen >> first & 1 ? faults[first] : MISSING;
        return NULL;
    }
    if (is_to_learn(d) && !twice) learn(d, start, from, place);
    return p;
}

/* One object: by the template that fitted last, by another, or by the general loop. */
TARGET INLINE const byte *NAME(row)(Decoder *d, const byte *p, const byte *end) {
    d->rows++;
    for (int32_t i = 0; i < TEMPLATES; i++) {
        int32_t which = (d->likely + i) & (TEMPLATES - 1);
        Template *t = &d->templates[which];
        if (!t->count) continue;
        const byte *stop = NAME(by_template)(d, t, p, end);
        if (LIKELY(stop != NULL)) {
            d->likely = which;
            t->used = d->rows;
            d->hits++;
            return stop;
        }
        if (d->begun)
            for (int32_t j = 0; j < d->field_count; j++) clear(d, &d->fields[j]);
    }
    return NAME(event)(d, p, end);
}

/* The lines of a message, or of a part of it, which begins `shift` bytes into the buffer. Returns
   where it stopped: the end, or a line that finds no room in the columns. */
TARGET static const byte *NAME(lines)(
    Decoder *d, const byte *p, const byte *end, int64_t shift, Place *place) {
    const byte *part = p;
    while (p < end) {
        const byte *start = p, *stop;
        while (p < end && (is_blank(*p) || *p == '\v' || *p == '\f')) p++;
        if (p == end) return p; /* a blank line at the end */
        if (*p == '\n') {
            p++;
            continue;
        }
        if (d->good == d->room) return start;
        place->start = start - part + shift;
        p = skip_blanks(start, end);
        stop = *p == '{' ? NAME(row)(d, p, end) : BROKEN(d);
        if (LIKELY(stop != NULL)) {
            place->end = stop - part + shift;
            d->places[d->good++] = *place;
        } else {
            stop = memchr(start, '\n', (size_t)(end - start));
            if (!stop) stop = end;
            if (d->verdict == BAD && d->reason == NOT_JSON && may_be_not_finite(start, stop))
                d->verdict = DECLINED;
            place->end = stop - part + shift;
            for (int32_t i = 0; i < d->field_count; i++) clear(d, &d->fields[i]);
            note_refused(d, *place);
        }
        place->line++;
        p = stop < end ? stop + 1 : stop;
    }
    return p;
}

#undef NAME
#undef WIDE
#undef TARGET
#undef SPECIAL
