# gitwatch for bash: sets GITWATCH_PROMPT and VCS_STATUS_* before each prompt, by a process that stands beside the shell
# and is asked over a pair of FIFOs. Use it as
#   eval "$(gitwatch init bash)"
#   PS1='\w ${GITWATCH_PROMPT:+$GITWATCH_PROMPT }\$ '
# in .bashrc. The single quotes matter: names in GITWATCH_PROMPT are then shown, and never run.

if [[ $- == *i* && ${BASH_VERSINFO[0]} -ge 4 ]]; then

_gitwatch_names=(
  WORKDIR COMMIT LOCAL_BRANCH REMOTE_BRANCH REMOTE_NAME REMOTE_URL ACTION INDEX_SIZE NUM_STAGED NUM_UNSTAGED
  NUM_CONFLICTED NUM_UNTRACKED COMMITS_AHEAD COMMITS_BEHIND STASHES TAG NUM_UNSTAGED_DELETED NUM_STAGED_NEW
  NUM_STAGED_DELETED PUSH_REMOTE_NAME PUSH_REMOTE_URL PUSH_COMMITS_AHEAD PUSH_COMMITS_BEHIND NUM_SKIP_WORKTREE
  NUM_ASSUME_UNCHANGED COMMIT_ENCODING COMMIT_SUMMARY
)
GITWATCH_PROMPT= _gitwatch_id=${_gitwatch_id-0} _gitwatch_busy= _gitwatch_shown= _gitwatch_asked= _gitwatch_limit=0.500

_gitwatch_start() {
  [[ -z ${_gitwatch_pid-} ]] || ! kill -0 "$_gitwatch_pid" 2>/dev/null || return 0
  [[ -z ${_gitwatch_in-} ]] || exec {_gitwatch_in}>&- {_gitwatch_out}>&-
  unset _gitwatch_in _gitwatch_out
  local directory
  directory=$(command mktemp -d "${TMPDIR:-/tmp}/gitwatch.XXXXXXXXXX") || return
  # Opened for both, so that neither waits for the other end.
  command mkfifo -m 600 "$directory/in" "$directory/out" &&
    exec {_gitwatch_in}<>"$directory/in" {_gitwatch_out}<>"$directory/out"
  command rm -rf "$directory"
  [[ -n ${_gitwatch_out-} ]] || return
  { (cd / && exec @RELAY@ "$$" @ASCII@ <&"$_gitwatch_in" >&"$_gitwatch_out" 2>/dev/null) & } 2>/dev/null
  _gitwatch_pid=$! _gitwatch_busy=
  disown "$_gitwatch_pid" 2>/dev/null
}

# What is asked about: a directory, or with a colon before it a git dir. Empty: git sees another world here than the
# daemon does.
_gitwatch_subject() {
  if [[ -n ${GIT_WORK_TREE-}${GIT_INDEX_FILE-}${GIT_OBJECT_DIRECTORY-}${GIT_COMMON_DIR-} ]]; then
    _gitwatch_subject=
  elif [[ -z ${GIT_DIR-} ]]; then
    _gitwatch_subject=$PWD
  elif [[ $GIT_DIR == /* ]]; then
    _gitwatch_subject=:$GIT_DIR
  else
    _gitwatch_subject=:$PWD/$GIT_DIR
  fi
}

# The next record into _gitwatch_fields, within $1 seconds; fails when there is none, or not the one that is waited for.
_gitwatch_read() {
  local LC_ALL=${LC_ALL-}
  _gitwatch_fields=()
  IFS=$'\x1f' read -r -d $'\x1e' -t "$1" -u "$_gitwatch_out" -a _gitwatch_fields || return
  [[ ${_gitwatch_fields[0]-} == "$_gitwatch_busy" ]]
}

_gitwatch_unset() {
  unset "${_gitwatch_names[@]/#/VCS_STATUS_}" VCS_STATUS_HAS_{STAGED,UNSTAGED,CONFLICTED,UNTRACKED}
  VCS_STATUS_RESULT=$1 GITWATCH_PROMPT=${2-}
}

_gitwatch_take() {
  local name position=6
  VCS_STATUS_STATE=${_gitwatch_fields[1]-none} _gitwatch_shown=$_gitwatch_asked
  [[ -z ${_gitwatch_fields[2]-} ]] || printf -v _gitwatch_limit '%d.%03d' \
    $(((_gitwatch_fields[2] + 50) / 1000)) $(((_gitwatch_fields[2] + 50) % 1000))
  case $VCS_STATUS_STATE in
    fresh | stale | unsafe) ;;
    pending | failed) _gitwatch_unset tout "${_gitwatch_fields[3]-}"; return ;;
    *) _gitwatch_unset norepo-sync; return ;;
  esac
  if [[ -z ${_gitwatch_fields[6]-} ]]; then # a bare repository
    _gitwatch_unset norepo-sync "${_gitwatch_fields[3]-}"
    return
  fi
  VCS_STATUS_RESULT=ok-sync GITWATCH_PROMPT=${_gitwatch_fields[3]-}
  for name in "${_gitwatch_names[@]}"; do
    printf -v "VCS_STATUS_$name" %s "${_gitwatch_fields[position++]-}"
  done
  if [[ ${_gitwatch_fields[4]} == 1 ]]; then
    VCS_STATUS_HAS_STAGED=$((VCS_STATUS_NUM_STAGED > 0)) VCS_STATUS_HAS_UNSTAGED=$((VCS_STATUS_NUM_UNSTAGED > 0))
    VCS_STATUS_HAS_CONFLICTED=$((VCS_STATUS_NUM_CONFLICTED > 0))
    VCS_STATUS_HAS_UNTRACKED=$((VCS_STATUS_NUM_UNTRACKED > 0))
  else
    VCS_STATUS_HAS_STAGED=-1 VCS_STATUS_HAS_UNSTAGED=-1 VCS_STATUS_HAS_CONFLICTED=-1 VCS_STATUS_HAS_UNTRACKED=-1
  fi
}

# There is no answer yet: the last one, marked, if it was about the same place; else nothing.
_gitwatch_late() {
  [[ $_gitwatch_limit != 0.500 ]] || _gitwatch_limit=0.100 # only the first has the start of that process to wait for
  if [[ $1 == "$_gitwatch_shown" && -n $GITWATCH_PROMPT ]]; then
    [[ $VCS_STATUS_STATE == stale ]] || GITWATCH_PROMPT+=' @STALE@'
    VCS_STATUS_STATE=stale
  else
    VCS_STATUS_STATE=pending _gitwatch_shown=
    _gitwatch_unset tout
  fi
}

_gitwatch_update() {
  local subject _gitwatch_subject _gitwatch_fields
  _gitwatch_subject
  subject=$_gitwatch_subject
  if [[ -z $subject ]]; then
    VCS_STATUS_STATE=none
    _gitwatch_unset norepo-sync
    return
  fi
  # One that let a prompt wait is not waited for again before it has answered.
  while [[ -n $_gitwatch_busy ]]; do
    if ! read -t 0 -u "$_gitwatch_out"; then
      _gitwatch_start # if it died
      [[ -z $_gitwatch_busy ]] && break
      _gitwatch_late "$subject"
      return
    fi
    _gitwatch_read 0.05 && _gitwatch_busy=
  done
  if [[ -z ${_gitwatch_pid-} ]] || ! kill -0 "$_gitwatch_pid" 2>/dev/null; then
    _gitwatch_start || return
  fi
  _gitwatch_busy=$((++_gitwatch_id)) _gitwatch_asked=$subject
  printf '%s\x1f%s\x1e' "$_gitwatch_busy" "$subject" >&"$_gitwatch_in"
  if _gitwatch_read "$_gitwatch_limit"; then
    _gitwatch_busy=
    _gitwatch_take
  else
    _gitwatch_late "$subject"
  fi
}

_gitwatch_prompt() {
  local status=$?
  _gitwatch_update
  return "$status"
}

_gitwatch_start
if [[ ${PROMPT_COMMAND[*]-} != *_gitwatch_prompt* ]]; then
  PROMPT_COMMAND="_gitwatch_prompt${PROMPT_COMMAND:+;$PROMPT_COMMAND}"
fi

fi
