# The public headers compile without a warning by themselves: with gcc and clang, as C11, without the
# sugar, and as C++17; and what must not compile does not.
set -u
source=${CTASK_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
include="-I$source/lib/include $(pkg-config --cflags jansson 2>/dev/null)"
strict="-Wall -Wextra -pedantic -Wshadow -Wstrict-prototypes -Werror -c -o $dir/out.o"
failed=0 compilers=0

# try FILE COMPILER FLAGS...: must compile in silence.
try() {
    file=$1
    shift
    if ! "$@" $include "$dir/$file" >"$dir/log" 2>&1 || [ -s "$dir/log" ]; then
        echo "FAIL $* $file"
        sed 's/^/    /' "$dir/log"
        failed=1
    fi
}

# refuse NAME CODE COMPILER FLAGS...: must not compile.
refuse() {
    name=$1
    printf '#include <ctask.h>\n#include <ctask/task.h>\n%s\n' "$2" >"$dir/refused.c"
    shift 2
    if "$@" $include "$dir/refused.c" >/dev/null 2>&1; then
        echo "FAIL $*: compiles although it must not: $name"
        failed=1
    fi
}

cat >"$dir/producer.c" <<'C'
#include <ctask.h>

int main(void)
{
    bool out[3], prime = false;
    int64_t in[3] = {2, 3, 4};
    const char *s = NULL;
    json_t *j = NULL;
    AsyncResult *r = task_delay("is_prime", 112272535095293);
    AsyncResult *q = task_apply(TASK_OPTIONS(.countdown = 5, .queue = "slow"), "f", "two", 3.0,
                                ctask_kw("width", 300), ctask_bool(1 == 1), NULL,
                                ctask_take(json_array()));
    AsyncResult *all[] = {r, q};
    struct ctask_map *m = ctask_map_open(NULL, NULL, "f", 0);
    if (task_send("f", 1u, 2L, 'c') != CTASK_OK || task_delay("none") == NULL) return 1;
    if (result_get(r, 10.0, &prime) != CTASK_OK || result_get(r, 0, NULL) != CTASK_OK ||
        result_get(q, -1, &s) != CTASK_OK || result_get(q, 1, &j) != CTASK_OK ||
        result_wait(r, 1) != CTASK_OK || result_wait_any(all, 2, 1) < 0)
        return result_error(r)->code;
    if (task_map(60, "is_prime", in, out, 3) != CTASK_OK || ctask_map_put(m, 1, "x") != CTASK_OK)
        return 1;
    AsyncResult *n = ctask_delay(ctask_default(), "f", 1);
    result_forget(n);
    return ctask_apply(NULL, TASK_OPTIONS(.no_result = true), "f") == NULL;
}
C

cat >"$dir/tasks.c" <<'C'
#include <ctask/task.h>

static bool is_prime(int64_t n)
{
    return n == 2;
}
CTASK_FN(bool, is_prime, (int64_t, n));
static double mean(double a, double b)
{
    return (a + b) / 2;
}
CTASK_FN(double, mean, (double, a), (double, b));
static int seven(void)
{
    return 7;
}
CTASK_FN(int, seven);
static void say(const char *what)
{
    (void)what;
}
CTASK_PROC(say, (const char *, what));

static ctask_outcome thumbnail(struct ctask_call *t)
{
    const char *path;
    int64_t width = 640;
    if (!task_args(t, &path, &width)) return ctask_failed(t);
    if (width <= 0) return task_fail(t, "ValueError", "width %" PRId64 " is not positive", width);
    if (task_cancelled(t)) return task_retry(t, 1);
    if (task_progress(t, 0.5) != CTASK_OK) return task_return_null(t);
    return width > 1 ? task_return(t, path) : task_return_bool(t, width == 1);
}

CTASK_APP(sample, {TASK(is_prime), .hard_limit = 60, .help = "is n prime?"}, {TASK(mean)},
          {TASK(seven)}, {TASK(say)}, {TASK_CALL(thumbnail), .params = "path, width=640"});
C

cat >"$dir/plain.c" <<'C'
#define CTASK_NO_SUGAR
#include <ctask.h>
#include <ctask/task.h>

int task_delay, task_apply, task_send, result_get, task_map, result_id, task_args, AsyncResult;

struct ctask_result *send_one(struct ctask_client *c);
struct ctask_result *send_one(struct ctask_client *c)
{
    return ctask_delay(c, "f", 1);
}
C

cat >"$dir/producer.cc" <<'C'
#include <ctask.h>
#include <ctask/task.h>

int main()
{
    ctask_options o = {};
    o.queue = "slow";
    ctask_result *r = ctask_send_json(nullptr, &o, "f", json_array(), nullptr);
    int rc = ctask_result_wait(r, 1);
    ctask_result_forget(r);
    return rc == CTASK_OK ? 0 : ctask_error()->code;
}
C

# Each header alone, in either order.
for header in ctask.h ctask/args.h ctask/task.h; do
    name=$(echo "$header" | tr / _)
    printf '#include <%s>\nextern int not_empty;\n' "$header" >"$dir/alone_$name.c"
done

for cc in gcc clang; do
    command -v "$cc" >/dev/null || continue
    compilers=$((compilers + 1))
    c="$cc -std=c11 $strict"
    for file in producer.c tasks.c plain.c alone_ctask.h.c alone_ctask_args.h.c alone_ctask_task.h.c
    do
        try "$file" $c
    done
    refuse "a struct as an argument" \
        'struct s { int x; }; int f(struct s s) { return !task_delay("f", s); }' $c
    refuse "reading into a struct" \
        'struct s { int x; }; int f(AsyncResult *r, struct s *s) { return result_get(r, 1, s); }' $c
    refuse "reading into a char *, which would be written through const" \
        'int f(AsyncResult *r, char **s) { return result_get(r, 1, s); }' $c
    refuse "more than 16 arguments" \
        'int f(void) { return !task_delay("f",1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17); }' $c
    refuse "a dropped result of a send" 'void f(void) { task_send("f"); }' $c
    refuse "returning a bare value from a task" \
        'ctask_outcome f(struct ctask_call *t); ctask_outcome f(struct ctask_call *t) { (void)t; return 1; }' $c
done
for cxx in g++ clang++; do
    command -v "$cxx" >/dev/null || continue
    compilers=$((compilers + 1))
    try producer.cc "$cxx" -std=c++17 -Wall -Wextra -pedantic -Werror -c -o "$dir/out.o"
done
if [ "$compilers" -eq 0 ]; then
    echo "neither gcc nor clang is here: nothing to compare"
    exit 77
fi
exit $failed
