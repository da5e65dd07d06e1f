# gitwatch for fish: sets GITWATCH_PROMPT and VCS_STATUS_* before each prompt. An answer that is late is drawn when it
# comes. Use it as
#   gitwatch init fish | source
# in config.fish, and $GITWATCH_PROMPT in your fish_prompt.

if status is-interactive

set -g GITWATCH_PROMPT ''
set -g __gitwatch_shown ''

function __gitwatch_update --on-event fish_prompt
    set -l answer (@PROMPT@ --format fish 2>/dev/null)
    if test (count $answer) -gt 0
        printf '%s\n' $answer | source
        set -g __gitwatch_shown $PWD
    else if test "$__gitwatch_shown" = "$PWD" -a -n "$GITWATCH_PROMPT"
        # No answer in time: the last one, marked.
        test "$VCS_STATUS_STATE" = stale; or set -g GITWATCH_PROMPT "$GITWATCH_PROMPT @STALE@"
        set -g VCS_STATUS_STATE stale
    else
        set -g GITWATCH_PROMPT ''
        set -g VCS_STATUS_STATE pending
        set -g VCS_STATUS_RESULT tout
    end
    if contains -- "$VCS_STATUS_STATE" stale pending
        __gitwatch_later
    end
end

# Ask again, in the background and patiently, and draw the prompt anew when the answer is there.
function __gitwatch_later
    set -q __gitwatch_waiting; and return
    set -g __gitwatch_waiting $PWD
    set -g __gitwatch_file (command mktemp)
    command sh -c 'out=$1; shift; exec "$@" >"$out" 2>/dev/null' sh $__gitwatch_file @PROMPT@ --format fish --timeout 30 &
    function __gitwatch_came --on-process-exit $last_pid
        functions --erase __gitwatch_came
        if test "$__gitwatch_waiting" = "$PWD" -a -s $__gitwatch_file
            source $__gitwatch_file
            set -g __gitwatch_shown $PWD
            commandline --function repaint
        end
        command rm -f $__gitwatch_file
        set --erase __gitwatch_waiting
    end
end

end
