/* list.h - intrusive doubly linked lists. A list head is a `struct list` linked to itself; a member
 * embeds one and is on at most one list by it. An unlinked member is linked to itself, so removing
 * twice is harmless. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_remove(struct list *member)
{
    member->prev->next = member->next;
    member->next->prev = member->prev;
    list_init(member);
}

static inline void list_append(struct list *l, struct list *member)
{
    member->prev = l->prev;
    member->next = l;
    l->prev->next = member;
    l->prev = member;
}

static inline void list_prepend(struct list *l, struct list *member)
{
    list_append(l->next, member);
}

/* The struct of type `type` whose field `field` is at p. */
#define container_of(p, type, field) ((type *)((char *)(p)-offsetof(type, field)))
#define list_first(l, type, field) container_of((l)->next, type, field)
#define list_last(l, type, field) container_of((l)->prev, type, field)

/* Walks l; the current member may be removed or freed in the body. */
#define list_each(var, l, type, field)                                                      \
    for (struct list * var##_next_, *var##_at_ = (l)->next;                                 \
         var##_at_ != (l) &&                                                                \
         (var##_next_ = var##_at_->next, var = container_of(var##_at_, type, field), true); \
         var##_at_ = var##_next_)

#endif
