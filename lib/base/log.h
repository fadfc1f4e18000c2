/* log.h - one line an event, one write(2) a line. Silent until a program opens it, so the library
 * never prints. Control characters in values are escaped: task names and error texts come from the
 * network. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <ctask.h>

enum log_level { LOG_SILENT, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Lines up to `level` go to fd (borrowed), each with `name` (copied, 63 bytes at most), which tells
 * the processes of one terminal apart. NULL: they are for a parent that logs them, so they begin
 * with their level as sd-daemon(3) has it, "<4>", and nothing else. Not while other threads log. */
void log_open(int fd, enum log_level level, const char *name);
bool log_on(enum log_level level);
/* "error", "warning", "info", "debug" or "trace", in any case. -1 if it is none of them. */
int log_level_parse(const char *s);

/* ERROR: someone must act. WARN: it healed. INFO: life-cycle, and a line per failure of a task.
 * DEBUG: a line per task. TRACE: each step of a task. */
void log_at(enum log_level level, const char *fmt, ...) CTASK_PRINTF(2, 3);
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_on(LOG_DEBUG) ? log_at(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_trace(...) (log_on(LOG_TRACE) ? log_at(LOG_TRACE, __VA_ARGS__) : (void)0)

/* Copies n bytes of p into out (size bytes, always terminated), control characters and bytes that
 * are not UTF-8 as \xHH; cut at the end with "...". Returns out. */
char *log_escape(char *out, size_t size, const void *p, size_t n);

#endif
