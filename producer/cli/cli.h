/* cli.h - what the files of the ctask command share. Options are read with argp; every error is
 * one sentence on stderr that says what to do, and an exit status that a script can act on. */
#ifndef CLI_H
#define CLI_H

#include <argp.h>
#include <ctask.h>
#include <stdbool.h>
#include <stddef.h>

enum status {
    STATUS_OK = 0,
    STATUS_TASK = 1,     /* a task failed */
    STATUS_USAGE = 2,    /* a wrong command line or a wrong line of input */
    STATUS_TIMEOUT = 4,  /* not done within --timeout */
    STATUS_BROKER = 69,  /* no broker, or it takes no messages */
    STATUS_OUTPUT = 74,  /* results could not be written */
    STATUS_REFUSED = 77, /* the broker refused user, password, virtual host or operation */
    STATUS_SIGNAL = 128  /* plus the signal's number */
};

/* ---- options.c: what all commands understand --------------------------------------------------*/

struct options {
    char *url;         /* owned; NULL: ctask_open's default */
    const char *queue; /* NULL: the library's default */
    double timeout;    /* seconds; negative: none */
    double countdown;
    bool no_wait;
};

#define OPTIONS_BROKER_HELP                                                                  \
    "amqp://user:password@host:port/vhost, or amqps:// for TLS; several with ; between are " \
    "tried in turn; default $CTASK_BROKER_URL, else the first line of the file "             \
    "$CTASK_BROKER_FILE, else amqp://localhost"
#define OPTIONS_EXIT_HELP                                                                        \
    "Exit status: 0 fine, 1 the task failed, 2 wrong usage or input, 4 timed out, 69 no broker " \
    "could be reached, 74 results could not be written, 77 the broker refused, or cannot be "    \
    "trusted."

/* A child parser: -b, -Q, --timeout, --countdown, --no-wait; its input is a struct options. */
extern const struct argp options_argp;

/* Copies url and blanks user and password in arg itself, so that they leave `ps`. */
char *options_take_url(char *arg);
/* "500ms", "30", "30s", "5m", "2h", "7d" in seconds; negative if text is none of them. */
double options_seconds(const char *text);

/* ---- values.c: text of the command line as JSON ---------------------------------------------- */

/* One argument: JSON, or a bare word as a string. NULL and a sentence in why[size] if it is not. */
json_t *value_parse(const char *text, char *why, size_t size);
/* One line of `ctask map` as an argument list: an array is the list, anything else its only
 * element, an empty line no arguments. */
json_t *value_parse_line(const char *text, size_t length, char *why, size_t size);
/* Compact JSON text in UTF-8; free it. */
char *value_text(const json_t *j);

/* ---- lines.c: lines from a descriptor, without waiting ----------------------------------------*/

struct lines {
    int fd;
    char *data;
    size_t start, length, size; /* data[start .. length) is unread */
    bool eof;
};

enum { LINE_MAX_BYTES = 4 << 20 };
enum lines_got { LINES_NONE, LINES_ONE, LINES_TOO_LONG };

/* The next whole line without its newline, if it is already here; valid until lines_fill. */
enum lines_got lines_next(struct lines *in, const char **line, size_t *length);
/* One read(2); call it when poll says so, or for a regular file. False when reading failed. */
bool lines_fill(struct lines *in);
/* No line is left and none will come. */
bool lines_over(const struct lines *in);
/* Lines of a regular file from its present offset on; 0 if fd is something else. */
size_t lines_count(int fd);

/* ---- wait.c: sleep until something happens ----------------------------------------------------*/

enum { WAIT_INPUT = 1, WAIT_CLIENT = 2, WAIT_SIGNAL = 4 };

struct waiter {
    int signals; /* a signalfd for SIGINT and SIGTERM */
    int caught;  /* the signal that came, or 0 */
};

/* From here on SIGINT and SIGTERM are reported by waiter_sleep; the second one kills as usual. */
void waiter_init(struct waiter *w);
/* Sleeps at most `seconds`, until stdin (with WAIT_INPUT in `interest`), the client or a signal has
 * something, and lets the client progress. Returns what happened. */
unsigned waiter_sleep(struct waiter *w, struct ctask_client *c, unsigned interest, double seconds);
/* Seconds of the monotonic clock. */
double now_seconds(void);
/* What is left until `deadline`, at most `most`; a negative deadline is none. */
double seconds_left(double deadline, double most);

/* ---- report.c: sentences ----------------------------------------------------------------------*/

/* "ctask: " and the sentence on stderr, on one line whatever it contains. */
void say(const char *fmt, ...) CTASK_PRINTF(1, 2);
/* The exit status for a library error. */
enum status status_of(int code);
/* Says e with what to do about it; returns its exit status. */
enum status say_error(const struct ctask_error *e);
/* That a queue has other arguments than were asked for, if one has. */
void say_differs(struct ctask_client *c);
/* "ValueError: text" of a failed task; else the error's sentence. */
const char *failure_text(const struct ctask_error *e, char *text, size_t size);
/* True if e says that no worker knows the task. */
bool is_unknown(const struct ctask_error *e);
/* Opens a client, or says why not and sets *status. */
struct ctask_client *open_client(const struct options *o, enum status *status);
/* Ends the program's output: `status`, or STATUS_OUTPUT with a sentence when it was not written. */
enum status close_output(enum status status);

/* ---- progress.c: how far a map is, on stderr --------------------------------------------------*/

enum { PROGRESS_SAMPLES = 20 };

struct progress {
    bool quiet, terminal, shown;
    bool shared;  /* results are written to a terminal, too */
    size_t total; /* 0: not known yet */
    double start, next_draw;
    struct progress_sample {
        double at;
        size_t done;
    } sample[PROGRESS_SAMPLES];
    unsigned samples;
};

void progress_init(struct progress *p, bool quiet);
/* Draws when it is time to. */
void progress_draw(struct progress *p, size_t done, size_t failed);
/* Takes the bar off the screen, so that a line can be written to stderr. */
void progress_hide(struct progress *p);
/* The same for a line to stdout. */
void progress_hide_for_output(struct progress *p);

/* ---- shelf.c: results back into the order of their calls --------------------------------------*/

struct shelf {
    char **slot; /* of the result numbered i at i % size; NULL: not here yet */
    size_t size;
    size_t next; /* the first that was not taken */
};

void shelf_init(struct shelf *s, size_t size);
void shelf_done(struct shelf *s);
/* Keeps text, which the shelf owns now; index is below next + size. */
void shelf_put(struct shelf *s, size_t index, char *text);
/* The next text in order, yours to free; NULL when it has not come. */
char *shelf_take(struct shelf *s);

/* ---- The commands -----------------------------------------------------------------------------*/

int call_main(int argc, char **argv, struct options *o);
int map_main(int argc, char **argv, struct options *o);

#endif
