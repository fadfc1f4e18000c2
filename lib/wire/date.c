/* date.c - see date.h. The calendar is computed here: gmtime and strptime would bring the time zone
 * and the locale of the process into messages. */
#include "wire/date.h"

#include <math.h>
#include <string.h>

#define DAY 86400
#define FIRST (-62135596800.0) /* 0001-01-01T00:00:00 */
#define LAST 253402300799.0    /* 9999-12-31T23:59:59 */
#define EPOCH_DAYS 719162      /* from 0001-01-01 to 1970-01-01 */

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 0001-01-01 to the first of January of year. */
static int year_start(int year)
{
    int y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400;
}

/* Writes `digits` digits of v and the character after them; returns where the next one goes. */
static char *put_number(char *p, int digits, int v, char after)
{
    for (int i = digits; i-- > 0; v /= 10) p[i] = (char)('0' + v % 10);
    p[digits] = after;
    return p + digits + 1;
}

char *date_write(double t, char out[DATE_SIZE])
{
    if (!(t >= FIRST)) t = FIRST;
    if (t > LAST) t = LAST;
    double whole = floor(t);
    int micro = (int)lround((t - whole) * 1e6);
    int64_t since = (int64_t)whole + (int64_t)EPOCH_DAYS * DAY;
    if (micro == 1000000) {
        micro = 0;
        since++;
    }
    int days = (int)(since / DAY), second = (int)(since % DAY);
    int year = days / 366 + 1, month = 1;
    while (year_start(year + 1) <= days) year++;
    days -= year_start(year);
    for (; days >= month_days(year, month); month++) days -= month_days(year, month);

    char *p = put_number(out, 4, year, '-');
    p = put_number(p, 2, month, '-');
    p = put_number(p, 2, days + 1, 'T');
    p = put_number(p, 2, second / 3600, ':');
    p = put_number(p, 2, second / 60 % 60, ':');
    p = put_number(p, 2, second % 60, '.');
    p = put_number(p, 6, micro, '+');
    memcpy(p, "00:00", sizeof "00:00");
    return out;
}

/* ---- Reading: each step takes what it understands off the front of *s. ----------------------- */

static bool take(struct bytes *s, char c)
{
    if (s->n == 0 || s->p[0] != (uint8_t)c) return false;
    *s = bytes_rest(*s, 1);
    return true;
}

/* Exactly `digits` digits, in the range given. */
static bool take_number(struct bytes *s, size_t digits, int min, int max, int *out)
{
    if (s->n < digits) return false;
    int v = 0;
    for (size_t i = 0; i < digits; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = bytes_rest(*s, digits);
    *out = v;
    return v >= min && v <= max;
}

/* One to nine digits behind the point. */
static bool take_fraction(struct bytes *s, double *out)
{
    double value = 0, unit = 1;
    int digit, count = 0;
    while (s->n > 0 && take_number(s, 1, 0, 9, &digit)) {
        if (++count > 9) return false;
        value = value * 10 + digit;
        unit *= 10;
    }
    *out = value / unit;
    return count > 0;
}

/* Z, an offset, or nothing; then the end. */
static bool take_zone(struct bytes *s, int *offset)
{
    *offset = 0;
    if (s->n == 0) return true;
    if (take(s, 'Z')) return s->n == 0;
    bool west = take(s, '-');
    if (!west && !take(s, '+')) return false;
    int hours, minutes;
    if (!take_number(s, 2, 0, 23, &hours)) return false;
    take(s, ':');
    if (!take_number(s, 2, 0, 59, &minutes)) return false;
    *offset = (hours * 60 + minutes) * (west ? -60 : 60);
    return s->n == 0;
}

bool date_read(struct bytes s, double *t)
{
    int year, month, day, hour, minute, second = 0, offset;
    double fraction = 0;
    if (!take_number(&s, 4, 1, 9999, &year) || !take(&s, '-')) return false;
    if (!take_number(&s, 2, 1, 12, &month) || !take(&s, '-')) return false;
    if (!take_number(&s, 2, 1, month_days(year, month), &day)) return false;
    if (!take(&s, 'T') && !take(&s, ' ')) return false;
    if (!take_number(&s, 2, 0, 23, &hour) || !take(&s, ':')) return false;
    if (!take_number(&s, 2, 0, 59, &minute)) return false;
    if (take(&s, ':')) {
        if (!take_number(&s, 2, 0, 59, &second)) return false;
        if (take(&s, '.') && !take_fraction(&s, &fraction)) return false;
    }
    if (!take_zone(&s, &offset)) return false;
    int64_t days = year_start(year) - EPOCH_DAYS + day - 1;
    for (int m = 1; m < month; m++) days += month_days(year, m);
    *t = (double)(days * DAY + hour * 3600 + minute * 60 + second - offset) + fraction;
    return true;
}
