# gitwatch for zsh: sets GITWATCH_PROMPT and VCS_STATUS_* before each prompt, from the daemon's socket, without a
# process. An answer that is late is drawn when it comes. Use it as
#   eval "$(gitwatch init zsh)"
#   PROMPT='%~ ${GITWATCH_PROMPT:+$GITWATCH_PROMPT }%# '
# in .zshrc. The single quotes matter: names in GITWATCH_PROMPT are then shown, and never run.

if [[ -o interactive ]] && zmodload zsh/net/socket zsh/system zsh/datetime zsh/zle 2>/dev/null; then

setopt prompt_subst prompt_percent no_prompt_bang

# Evaluated anew: what the first time had open is closed, or its handler would be called for ever.
(( ! $+functions[_gitwatch_close] )) || _gitwatch_close

typeset -g  GITWATCH_PROMPT= _gitwatch_buffer= _gitwatch_reply= _gitwatch_asked= _gitwatch_shown=
typeset -gi _gitwatch_fd=-1 _gitwatch_id=0 _gitwatch_busy=0 _gitwatch_again=0 _gitwatch_started=0 _gitwatch_patient=0
typeset -gF _gitwatch_limit=0.1
# For what zsh calls: options that would end a function in its middle, or talk, do not concern it. (`emulate` would
# take prompt_subst away from the prompt that is drawn there.)
typeset -ga _gitwatch_calm=(local_options no_err_return no_err_exit no_warn_nested_var no_xtrace)
typeset -ga _gitwatch_names=(
  WORKDIR COMMIT LOCAL_BRANCH REMOTE_BRANCH REMOTE_NAME REMOTE_URL ACTION INDEX_SIZE NUM_STAGED NUM_UNSTAGED
  NUM_CONFLICTED NUM_UNTRACKED COMMITS_AHEAD COMMITS_BEHIND STASHES TAG NUM_UNSTAGED_DELETED NUM_STAGED_NEW
  NUM_STAGED_DELETED PUSH_REMOTE_NAME PUSH_REMOTE_URL PUSH_COMMITS_AHEAD PUSH_COMMITS_BEHIND NUM_SKIP_WORKTREE
  NUM_ASSUME_UNCHANGED COMMIT_ENCODING COMMIT_SUMMARY
)

# What is asked about: a directory, or with a colon before it a git dir. Empty: git sees another world here than the
# daemon does.
_gitwatch_subject() {
  emulate -L zsh
  if [[ -n $GIT_WORK_TREE || -n $GIT_INDEX_FILE || -n $GIT_OBJECT_DIRECTORY || -n $GIT_COMMON_DIR ]]; then
    REPLY=
  elif [[ -z $GIT_DIR ]]; then
    REPLY=$PWD
  elif [[ $GIT_DIR == /* ]]; then
    REPLY=:$GIT_DIR
  else
    REPLY=:$PWD/$GIT_DIR
  fi
}

_gitwatch_connect() {
  emulate -L zsh
  local REPLY
  zsocket @SOCKET@ 2>/dev/null || return
  # Not one below 10: those are the user's, and a later `exec 3>file` would have us write into that file.
  exec {_gitwatch_fd}>&$REPLY {REPLY}>&-
  _gitwatch_buffer= _gitwatch_busy=0
}

_gitwatch_close() {
  emulate -L zsh
  (( _gitwatch_fd >= 0 )) || return 0
  zle -F $_gitwatch_fd 2>/dev/null
  exec {_gitwatch_fd}>&-
  _gitwatch_fd=-1 _gitwatch_busy=0 _gitwatch_buffer=
}

# One MessagePack-RPC request: prompt(SUBJECT, {format: zsh, fields: true, ...}). $2: milliseconds to wait, or the
# daemon's own deadline.
_gitwatch_send() {
  emulate -L zsh -o no_multibyte
  local subject=$1 length wait rest=$'\x83' options=$'\xa6format\xa3zsh\xa6fields\xc3\xa5ascii@ASCII@'
  if [[ $subject == :* ]]; then
    subject=${subject#:} rest=$'\x84' options+=$'\xa7git_dir\xc3'
  fi
  if (( $2 )); then
    printf -v wait '\\x%02x\\x%02x\\x%02x' $(( $2 >> 16 & 255 )) $(( $2 >> 8 & 255 )) $(( $2 & 255 ))
    options+=$'\xa7wait_ms\xce\x00'${(g::)wait}
    [[ $rest == $'\x83' ]] && rest=$'\x84' || rest=$'\x85'
  fi
  printf -v length '\\x%02x\\x%02x' $(( $#subject >> 8 & 255 )) $(( $#subject & 255 ))
  (( _gitwatch_id = _gitwatch_id % 127 + 1 ))
  local id
  printf -v id '\\x%02x' $_gitwatch_id
  # A socket whose other end is gone must not end the shell.
  setopt local_traps
  trap '' PIPE
  syswrite -o $_gitwatch_fd \
    -- $'\x94\x00'${(g::)id}$'\xa6prompt\x92\xc5'${(g::)length}$subject$rest$options 2>/dev/null || return
  _gitwatch_asked=$1 _gitwatch_busy=1 _gitwatch_patient=$2
}

# The answer to the last request into _gitwatch_reply (empty: no repository), for at most $1 seconds.
# Returns 4 when it is not there yet, 2 when the connection is no use any more.
_gitwatch_read() {
  emulate -L zsh -o no_multibyte
  local piece c
  local -i total byte result
  local -F until=$(( EPOCHREALTIME + $1 )) left
  while true; do
    total=0
    if (( $#_gitwatch_buffer >= 5 )); then
      [[ $_gitwatch_buffer[4] == $'\xc0' ]] || { _gitwatch_close; return 2 }
      if [[ $_gitwatch_buffer[5] == $'\xc0' ]]; then
        total=5
      elif (( $#_gitwatch_buffer >= 9 )); then
        for byte in 6 7 8 9; do
          c=$_gitwatch_buffer[byte]
          (( total = total << 8 | (#c & 255) ))
        done
        (( total += 9 ))
      fi
    fi
    if (( total && $#_gitwatch_buffer >= total )); then
      c=$_gitwatch_buffer[3]
      byte=$(( #c ))
      _gitwatch_reply=
      (( total > 9 )) && _gitwatch_reply=$_gitwatch_buffer[10,total]
      _gitwatch_buffer=$_gitwatch_buffer[total+1,-1]
      (( byte == _gitwatch_id )) || continue
      _gitwatch_busy=0
      return 0
    fi
    (( left = until - EPOCHREALTIME, left = left < 0 ? 0 : left ))
    sysread -t $left -i $_gitwatch_fd piece
    result=$?
    (( result == 4 )) && return 4
    (( result )) && { _gitwatch_close; return 2 }
    _gitwatch_buffer+=$piece
  done
}

# Sets the variables. $1: the answer, $2: sync or async.
_gitwatch_take() {
  emulate -L zsh
  local -a fields=("${(@ps:\x1f:)1}")
  local name
  local -i position=5
  typeset -g VCS_STATUS_STATE=${fields[1]:-none} GITWATCH_PROMPT=$fields[3] _gitwatch_shown=$_gitwatch_asked
  [[ $1 == pending ]] || _gitwatch_started=0
  (( fields[2] )) && _gitwatch_limit=$(( fields[2] / 1000. + 0.05 ))
  if [[ $VCS_STATUS_STATE != (fresh|stale|unsafe) || -z $fields[6] ]]; then
    unset VCS_STATUS_${^_gitwatch_names} VCS_STATUS_HAS_{STAGED,UNSTAGED,CONFLICTED,UNTRACKED}
    [[ $VCS_STATUS_STATE == (pending|failed) ]] && name=tout || name=norepo-$2
    typeset -g VCS_STATUS_RESULT=$name
    return
  fi
  typeset -g VCS_STATUS_RESULT=ok-$2
  for name in $_gitwatch_names; do
    typeset -g "VCS_STATUS_$name=$fields[++position]"
  done
  if (( fields[4] )); then
    typeset -g VCS_STATUS_HAS_STAGED=$(( VCS_STATUS_NUM_STAGED > 0 )) \
      VCS_STATUS_HAS_UNSTAGED=$(( VCS_STATUS_NUM_UNSTAGED > 0 )) \
      VCS_STATUS_HAS_CONFLICTED=$(( VCS_STATUS_NUM_CONFLICTED > 0 )) \
      VCS_STATUS_HAS_UNTRACKED=$(( VCS_STATUS_NUM_UNTRACKED > 0 ))
  else
    typeset -g VCS_STATUS_HAS_{STAGED,UNSTAGED,CONFLICTED,UNTRACKED}=-1
  fi
}

# There is no answer for $1 yet: the last one, marked, if it was about the same place; else nothing.
_gitwatch_late() {
  emulate -L zsh
  if [[ $1 == $_gitwatch_shown && -n $GITWATCH_PROMPT ]]; then
    [[ $VCS_STATUS_STATE == stale ]] || GITWATCH_PROMPT+=' @STALE@'
    typeset -g VCS_STATUS_STATE=stale
  else
    _gitwatch_take pending sync
    _gitwatch_shown=
  fi
}

# Before each prompt.
_gitwatch_precmd() {
  setopt "${_gitwatch_calm[@]}"
  local REPLY
  _gitwatch_subject
  local subject=$REPLY
  if [[ -z $subject ]]; then
    _gitwatch_take '' sync
    return
  fi
  if (( _gitwatch_busy )); then
    # A daemon that let a prompt wait is not waited for again before it has answered.
    _gitwatch_read 0
    if (( _gitwatch_busy )); then
      _gitwatch_again=1
      _gitwatch_late $subject
      return
    fi
  fi
  (( _gitwatch_fd >= 0 )) && zle -F $_gitwatch_fd 2>/dev/null
  if ! _gitwatch_open $subject 0; then
    _gitwatch_start
    _gitwatch_late $subject
    return
  fi
  _gitwatch_again=0
  _gitwatch_read $_gitwatch_limit
  case $? in
    0)
      _gitwatch_take "$_gitwatch_reply" sync
      [[ $VCS_STATUS_STATE == (stale|pending) ]] && _gitwatch_later $subject
      ;;
    4)
      _gitwatch_late $subject
      zle -F $_gitwatch_fd _gitwatch_ready
      ;;
    *)
      _gitwatch_start
      _gitwatch_late $subject
      ;;
  esac
}

# Send a request, on a new connection if the old one is dead.
_gitwatch_open() {
  (( _gitwatch_fd >= 0 )) && _gitwatch_send $1 $2 && return
  _gitwatch_close
  _gitwatch_connect && _gitwatch_send $1 $2
}

# Have the answer drawn when it comes.
_gitwatch_later() {
  _gitwatch_open $1 600000 && zle -F $_gitwatch_fd _gitwatch_ready
}

# The daemon said something while a prompt stands there.
_gitwatch_ready() {
  setopt "${_gitwatch_calm[@]}"
  local REPLY
  _gitwatch_read 0
  case $? in
    0)
      _gitwatch_subject
      if (( _gitwatch_again )) || [[ $REPLY != $_gitwatch_asked ]]; then
        # It is about another place or an earlier moment than this prompt.
        _gitwatch_again=0
        [[ -n $REPLY ]] && _gitwatch_later $REPLY
        return
      fi
      zle -F $1
      _gitwatch_take "$_gitwatch_reply" async
      zle reset-prompt
      # It was asked with the daemon's own short deadline, and came late all the same.
      (( _gitwatch_patient )) || [[ $VCS_STATUS_STATE != (stale|pending) ]] || _gitwatch_later $_gitwatch_asked
      ;;
    4) ;;
    *) _gitwatch_start ;;
  esac
}

# No daemon: have one started in the background, and ask it when it is there. Seldom, in case that it cannot.
_gitwatch_start() {
  (( EPOCHSECONDS - _gitwatch_started < 10 )) && return
  _gitwatch_started=EPOCHSECONDS
  local fd
  exec {fd}< <(@GITWATCH@ daemon start </dev/null &>/dev/null; print) && zle -F $fd _gitwatch_up
}

_gitwatch_up() {
  setopt "${_gitwatch_calm[@]}"
  local -i fd=$1
  local REPLY
  zle -F $fd
  exec {fd}<&-
  _gitwatch_subject
  (( _gitwatch_busy )) || [[ -z $REPLY ]] || _gitwatch_later $REPLY
}

autoload -Uz add-zsh-hook
add-zsh-hook precmd _gitwatch_precmd

fi
