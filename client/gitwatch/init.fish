# gitwatch for fish: sets GITWATCH_PROMPT and VCS_STATUS_* before each prompt. An answer that is late is drawn when it
# comes. Use it as
#   gitwatch init fish | source
# in config.fish, and $GITWATCH_PROMPT in your fish_prompt.

if status is-interactive

set -g GITWATCH_PROMPT ''
set -g __gitwatch_shown ''

# What is asked about. Empty: git sees another world here than the daemon does.
function __gitwatch_subject
    test -z "$GIT_WORK_TREE$GIT_INDEX_FILE$GIT_OBJECT_DIRECTORY$GIT_COMMON_DIR"; and echo -- "$PWD:$GIT_DIR"
end

function __gitwatch_unset --argument-names result state
    for name in (set --names --global | string match 'VCS_STATUS_*')
        set --erase --global $name
    end
    set -g GITWATCH_PROMPT ''
    set -g VCS_STATUS_RESULT $result
    set -g VCS_STATUS_STATE $state
    set -g __gitwatch_shown ''
end

function __gitwatch_update --on-event fish_prompt
    set -l subject (__gitwatch_subject | string collect)
    if test -z "$subject"
        __gitwatch_unset norepo-sync none
        return
    end
    set -l answer (@PROMPT@ --format fish 2>/dev/null)
    if test (count $answer) -gt 0
        printf '%s\n' $answer | source
        set -g __gitwatch_shown $subject
    else if test "$__gitwatch_shown" = "$subject" -a -n "$GITWATCH_PROMPT"
        # No answer in time: the last one, marked.
        test "$VCS_STATUS_STATE" = stale; or set -g GITWATCH_PROMPT "$GITWATCH_PROMPT @STALE@"
        set -g VCS_STATUS_STATE stale
    else
        __gitwatch_unset tout pending
    end
    if contains -- "$VCS_STATUS_STATE" stale pending
        __gitwatch_later $subject
    end
end

# Ask again, in the background and patiently, and draw the prompt anew when the answer is there.
function __gitwatch_later --argument-names subject
    if set -q __gitwatch_file
        # What is under way was asked for an earlier prompt: its answer may be older than this one.
        set -g __gitwatch_again
        return
    end
    set -g __gitwatch_file (command mktemp); or begin
        set --erase __gitwatch_file
        return
    end
    set -g __gitwatch_asked $subject
    set --erase __gitwatch_again
    # fish looks for ended processes and then begins to wait for keys; one that ends in between is noticed at the next
    # key or signal. So the signal is given again until the answer was taken.
    command sh -c '
        shell=$1 out=$2 prompt=$3; shift 3
        ask() { "$prompt" --format fish --timeout 600 >"$out" 2>/dev/null; }
        trap "rm -f \"\$out\"; exit" HUP TERM
        ask
        [ -s "$out" ] || { "$@" daemon start >/dev/null 2>&1 && ask; }
        (for pause in 0.1 0.3 1 3 10; do
            sleep "$pause"
            [ -e "$out" ] || exit
            kill -s CHLD "$shell" || exec rm -f "$out"
        done) </dev/null >/dev/null 2>&1 &
    ' sh $fish_pid $__gitwatch_file @PROMPT@ @GITWATCH@ </dev/null 2>/dev/null &
    function __gitwatch_came --on-process-exit $last_pid
        functions --erase __gitwatch_came
        set -l file $__gitwatch_file
        set --erase __gitwatch_file
        set -l subject (__gitwatch_subject | string collect)
        # Fresh: the prompt had a newer answer meanwhile.
        if contains -- "$VCS_STATUS_STATE" stale pending; and test -n "$subject"
            if set -q __gitwatch_again; or test "$__gitwatch_asked" != "$subject"
                __gitwatch_later $subject
            else if test -s $file
                source $file
                set -g __gitwatch_shown $subject
                commandline --function repaint
            end
        end
        command rm -f $file
    end
end

end
