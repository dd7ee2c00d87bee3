/* The template: the bytes that the rows of a writer have in common, between the values that vary.

       {"meter_id":"  site-7/rack-1  ","register":"it.energy","kind":"delta","start_ms":  1760...
       literal        step (TEXT)    literal                                               step

   A row that follows it needs no more than a comparison a literal and its values read; the texts
   that did not vary (constants) are known by the comparison alone. A template is learnt from a good
   row that the general loop has read, so what equals its literals is as valid as that row was. */
#ifndef GRIDLOOM_TEMPLATE_H
#define GRIDLOOM_TEMPLATE_H

#include "_decoder.h"

/* The general loop's notes of one key and its value, in the order of the row. */
static void note_value(Decoder *d, int32_t place, const byte *p, const byte *end, int32_t field) {
    if (place >= STEPS_MAX) return;
    Value *value = &d->values[place];
    value->start = p;
    value->end = end;
    value->field = field;
}

/* The row's layout: its fields in their order, and how many bytes lie between the values. */
static uint64_t layout_of(const Decoder *d, int32_t count, int64_t size) {
    uint64_t layout = (uint64_t)count;
    for (int32_t i = 0; i < count; i++) {
        const Value *value = &d->values[i];
        size -= value->end - value->start;
        layout = mixed(layout, (uint64_t)value->field, 0, 0);
    }
    return mixed(layout, (uint64_t)size, 0, 0);
}

/* The template of a layout: the one it has, or the one that was not used for the longest time. */
static Template *template_for(Decoder *d, uint64_t layout) {
    int32_t oldest = 0;
    for (int32_t i = 0; i < TEMPLATES; i++) {
        if (d->templates[i].layout == layout) return &d->templates[i];
        if (d->templates[i].used < d->templates[oldest].used) oldest = i;
    }
    memset(&d->templates[oldest], 0, sizeof(Template));
    d->templates[oldest].layout = layout;
    return &d->templates[oldest];
}

/* Whether the value at this place has ever differed from those of the rows learnt before. */
static int has_varied(Habit *habit, const Value *value) {
    int64_t size = value->end - value->start;
    if (size > HABIT_MAX) habit->varies = 1;
    if (habit->size && (size != habit->size || memcmp(habit->bytes, value->start, (size_t)size)))
        habit->varies = 1;
    if (habit->varies) return 1;
    habit->size = (int32_t)size;
    memcpy(habit->bytes, value->start, (size_t)size);
    return 0;
}

/* A step's literal: size bytes at p; 0 where the template is full. */
static int add_literal(Template *t, Step *step, const byte *p, int64_t size) {
    if (t->size + size > LITERALS_MAX) return 0;
    step->literal = t->size;
    step->size = (int32_t)size;
    step->blocks = (step->size - 1) / 32;
    step->beyond = size % 32 ? ~0u << size % 32 : size ? 0 : ~0u;
    memcpy(t->bytes + t->size, p, (size_t)size);
    t->size += (int32_t)size;
    return 1;
}

/* Learn from the row of `count` values that was just read, from its brace to behind the last. */
static void learn(Decoder *d, const byte *start, const byte *end, int32_t count) {
    if (count > STEPS_MAX) return;
    Template *t = template_for(d, layout_of(d, count, end - start));
    const byte *p = start;
    t->count = t->size = t->constant_count = 0;
    t->used = d->rows;
    for (int32_t i = 0; i < count; i++) {
        const Value *value = &d->values[i];
        Field *field = value->field < 0 ? NULL : &d->fields[value->field];
        byte first = *value->start;
        int is_number = first == '-' || (byte)(first - '0') <= 9;
        int is_nested = first == '{' || first == '[';
        Step *step = &t->steps[t->count];
        const byte *from = value->start;
        if (!is_number && !is_nested && !(field && field->kind == DECIMAL && first == '"') &&
            !has_varied(&t->habits[i], value)) {
            if (field && first == '"') {
                t->constants[t->constant_count].field = field;
                t->constants[t->constant_count++].code = field->last_code;
            }
            continue; /* a constant: part of the next literal */
        }
        step->field = field;
        if (first == '"' && (!field || field->kind == TEXT)) {
            step->kind = field ? STEP_TEXT : STEP_SKIPPED_TEXT;
            from++; /* the quotes are the literals' */
        } else if (!field) {
            step->kind = STEP_SKIPPED;
        } else if (is_number) {
            step->kind = field->kind == INTEGER ? STEP_INTEGER : STEP_NUMBER;
        } else {
            step->kind = STEP_DECIMAL_TEXT;
        }
        if (!add_literal(t, step, p, from - p)) {
            t->count = 0;
            return;
        }
        t->count++;
        p = value->end - (from - value->start);
    }
    t->steps[t->count].kind = STEP_END;
    t->steps[t->count].field = NULL;
    if (!add_literal(t, &t->steps[t->count], p, end - p)) {
        t->count = 0;
        return;
    }
    memset(t->bytes + t->size, 0, PAD);
    t->count++;
}

/* After a row that the template did not fit: whether it is worth learning from. Writers that never
   settle are learnt from less and less often. */
static int is_to_learn(Decoder *d) {
    if (d->wait > 0) {
        d->wait--;
        return 0;
    }
    if (d->hits < 8) {
        if (d->misses < 8) d->misses++;
    } else {
        d->misses = 0;
    }
    d->wait = (1 << d->misses) / 16; /* none for the first few: each text varies once */
    d->hits = 0;
    return 1;
}

#endif
