/* date.h - ISO 8601 instants as Celery writes and reads them. Total, no I/O, no locale, no TZ. */
#ifndef WIRE_DATE_H
#define WIRE_DATE_H

#include "base/bytes.h"

#define DATE_SIZE 40

/* Writes t (seconds since 1970, years 1 to 9999) as 2026-01-02T03:04:05.678000+00:00. */
char *date_write(double t, char out[DATE_SIZE]);
/* Reads YYYY-MM-DDTHH:MM[:SS[.f{1,9}]][Z|+HH[:]MM|-HH[:]MM], with ' ' for T too; naive means UTC.
 * False if it is anything else or no date of the calendar. */
bool date_read(struct bytes s, double *t);

#endif
