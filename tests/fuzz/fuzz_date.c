/* fuzz_date.c - dates: total, and a date that was written is read as the same instant. */
#include "fuzz.h"

#include "wire/date.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    double t, back;
    char text[DATE_SIZE];
    if (date_read(bytes_of(data, size), &t)) {
        must(isfinite(t));
        date_write(t, text);
        /* A zone may move it out of the years that can be written. */
        must(date_read(bytes_text(text), &back));
        if (t >= -62135596800.0 && t <= 253402300799.0) must(fabs(back - t) < 1e-4);
    }
    if (size == sizeof t) {
        memcpy(&t, data, sizeof t);
        date_write(t, text);
        must(strlen(text) < sizeof text && date_read(bytes_text(text), &back));
    }
    return 0;
}
